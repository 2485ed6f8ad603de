#!/usr/bin/env python3
"""A service in Python: a counter in SQLite and a page of JSON. `app.py --probe` asks it."""

import hashlib
import http.server
import json
import sqlite3
import sys
import urllib.request

PORT = 8080
DATABASE = "/var/lib/app/counts.db"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = self.answer()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode() + b"\n")

    def answer(self):
        if self.path.startswith("/sum/"):
            text = self.path.removeprefix("/sum/")
            return 200, {"sha256": hashlib.sha256(text.encode()).hexdigest()}
        if self.path.startswith("/count/"):
            with sqlite3.connect(DATABASE) as database:
                database.execute("insert into counts values (?, 1) on conflict (name) do update set times = times + 1", (self.path,))
                return 200, database.execute("select * from counts where name = ?", (self.path,)).fetchone()
        return 404, {"nothing at": self.path}

    def log_message(self, *_):
        pass


if sys.argv[1:] == ["--probe"]:
    print(urllib.request.urlopen(f"http://127.0.0.1:{PORT}/sum/probe").read().decode(), end="")
else:
    with sqlite3.connect(DATABASE) as database:
        database.execute("create table if not exists counts (name text primary key, times integer)")
    http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
