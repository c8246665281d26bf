// Prints what warcio reads of a WARC file: one JSON line for each record. Arguments: warcio's directory, the file.
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

const [, , warcio, file] = process.argv;
const { WARCParser } = await import(pathToFileURL(warcio + "/dist/index.js"));
const parser = new WARCParser(createReadStream(file), { keepHeadersCase: true });
for await (const record of parser) {
  const http = record.httpHeaders;
  const headers = Object.fromEntries(record.warcHeaders.headers);
  const statusline = http && http.statusline;
  const payload = await record.readFully(true); // without the chunks of HTTP
  const sum = createHash("sha1").update(payload).digest("hex");
  console.log(JSON.stringify({
    type: record.warcType, uri: record.warcTargetURI || "", date: record.warcDate, id: record.warcHeader("WARC-Record-ID"),
    version: record.warcHeaders.statusline, concurrent: record.warcConcurrentTo, headers, statusline: statusline || "", size: payload.length, payload: sum,
    offset: parser.offset,
  }));
}
