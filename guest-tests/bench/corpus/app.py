# SPDX-License-Identifier: Apache-2.0
"""An application on Django: counts who asked for what in a database, and tells it."""
import html
import sqlite3
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import Context, Engine
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of no use", DEBUG=False)
BASE = sqlite3.connect("/var/tmp/app.db")
BASE.execute("create table if not exists asked (item int, at timestamp default current_timestamp)")
PAGE = Engine().from_string("<html><title>{{ item }}</title><table>{% for row in rows %}<tr><td>"
                            "{{ row.0 }}<td>{{ row.1 }}</tr>{% endfor %}</table></html>")
KEPT = {}


def show(_request, item):
    with BASE:
        BASE.execute("insert into asked (item) values (?)", (item,))
    rows = BASE.execute("select item, count(*) from asked group by 1 order by 2 desc limit 50")
    KEPT[item] = PAGE.render(Context({"item": html.escape(str(item)), "rows": list(rows)}))
    return HttpResponse(KEPT[item])


urlpatterns = [path("app/<int:item>", show)]
make_server("127.0.0.1", 8000, get_wsgi_application()).serve_forever()
