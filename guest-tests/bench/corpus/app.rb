# SPDX-License-Identifier: Apache-2.0
# An application on Ruby's web server: keeps what it was asked for.
require "json"
require "webrick"

kept = Hash.new { |hash, key| hash[key] = [] }
server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: 8000, AccessLog: [])
server.mount_proc "/app" do |request, response|
  kept[request.path] << Time.now.to_s
  response.body = JSON.pretty_generate(kept.first(50).to_h)
end
server.start
