// A service on Node.js: JSON, gzip, a digest. `app.js --probe` asks it.
"use strict";
const crypto = require("crypto");
const http = require("http");
const zlib = require("zlib");
const { greeting } = require("./greeting");

const PORT = 8080;

function answer(path) {
  if (path === "/") return { greeting: greeting("node") };
  if (path.startsWith("/sum/")) {
    const text = path.slice(5);
    return { sha256: crypto.createHash("sha256").update(text).digest("hex"), gzip: zlib.gunzipSync(zlib.gzipSync(text)).toString() };
  }
  return null;
}

if (process.argv[2] === "--probe") {
  http.get({ host: "127.0.0.1", port: PORT, path: "/sum/probe" }, (reply) => {
    reply.pipe(process.stdout);
    reply.on("end", () => process.exit(reply.statusCode === 200 ? 0 : 1));
  }).on("error", () => process.exit(1));
} else {
  process.on("SIGTERM", () => process.exit(0));
  http.createServer((request, reply) => {
    const body = answer(request.url);
    reply.writeHead(body ? 200 : 404, { "Content-Type": "application/json" });
    reply.end(JSON.stringify(body ?? { nothing: request.url }) + "\n");
  }).listen(PORT);
}
