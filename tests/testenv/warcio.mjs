// Prints what warcio reads of WARC files, and the digests of what it reads: one JSON line for each record, and for each file that
// it can't read, or not to the end, one with "refused". Argument: warcio's directory; the names of the files come by stdin, a
// line each. Records are found and their heads read by warcio; HTTP is taken apart here, since warcio misreads one-byte bodies,
// trailers behind chunks, and heads without fields.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { WARCParser } = await import(pathToFileURL(process.argv.at(-1) + "/dist/index.js"));

let complaint = "";
console.warn = console.log = (...words) => { complaint ||= words.join(" "); };
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const digest = (algorithm, bytes) => createHash(algorithm).update(bytes).digest("hex");

// payload is the body of an HTTP message without the chunks of its transfer: what RFC 2616 calls the entity-body.
function payload(block) {
  const lf = block.indexOf("\n\n"), crlf = block.indexOf("\r\n\r\n");
  const bare = lf >= 0 && (crlf < 0 || lf < crlf);
  const end = bare ? lf + 2 : crlf < 0 ? block.length : crlf + 4;
  const head = block.toString("latin1", 0, end);
  const body = block.subarray(end);
  const coding = [...head.matchAll(/^transfer-encoding:(.*)$/gim)].pop();
  const chunks = coding && /(^|,)\s*chunked\s*$/i.test(coding[1]) ? dechunk(body) : null;
  return { status: Number(head.slice(9, 12)) || 0, body: chunks || body };
}

const mostLine = 8 << 10; // of a chunk, in bytes: a longer one breaks the form, as does a size of more than 15 digits

// dechunk ends where the chunks break their form. It is null for a body that does not begin with one: a proxy took the chunks
// away, and left the field.
function dechunk(body) {
  const parts = [];
  for (let at = 0; ; ) {
    const end = body.indexOf(10, at);
    const line = end < 0 || end - at >= mostLine ? "" : body.toString("latin1", at, end);
    const size = /^0*[0-9a-f]{1,15}(?=[;\s]|$)/i.exec(line);
    if (!size) return at === 0 ? null : Buffer.concat(parts);
    const length = parseInt(size[0], 16);
    if (length === 0) return Buffer.concat(parts);
    parts.push(body.subarray(end + 1, end + 1 + length));
    at = end + 1 + length;
    if (body[at] === 13) at++;
    if (body[at] !== 10) return Buffer.concat(parts);
    at++;
  }
}

function describe(record, block) {
  const header = {};
  for (const [name, value] of record.warcHeaders.headers) (header[name] ||= []).push(value);
  const version = record.warcHeaders.statusline;
  const one = { version, header, size: block.length, block: [digest("sha1", block), digest("sha256", block)] };
  const type = record.warcType;
  if (/^application\/http/.test(record.warcContentType || "")) {
    const http = payload(block);
    if (type !== "request") one.status = http.status;
    one.body = http.body.length;
    one.payload = [digest("sha1", http.body), digest("sha256", http.body)];
  } else if (type === "resource") {
    one.body = one.size;
    one.payload = one.block;
  }
  return one;
}

// read gives the parser the file as one piece: at the border of two it may tell a wrong offset.
async function read(file) {
  const bytes = readFileSync(file);
  const parser = new WARCParser([bytes], { keepHeadersCase: true, parseHttp: false });
  let last = null;
  const ends = (at) => {
    if (last && at <= last.offset) throw new Error(`two records in one member of gzip, at ${last.offset}`);
    if (last) say({ file, ...last, length: at - last.offset });
  };
  for await (const record of parser) {
    ends(parser.offset);
    const at = parser.offset;
    if (!/^WARC\/1\.[01]$/.test(record.warcHeaders.statusline)) throw new Error(`no record at ${at}`);
    const block = Buffer.from(await record.readFully(false));
    if (block.length !== record.warcContentLength) throw new Error(`the record at ${at} is cut short`);
    last = { ...describe(record, block), offset: at };
  }
  ends(parser.offset);
  if (parser.offset !== bytes.length) throw new Error(`nothing can be read behind ${parser.offset}, of ${bytes.length} bytes`);
}

for (const file of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  complaint = "";
  try {
    await read(file);
  } catch (err) {
    complaint ||= err.message;
  }
  if (complaint) say({ file, refused: complaint });
}
