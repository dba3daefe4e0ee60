// Pulls a body with nothing but a grant, as any program in JavaScript would: no package of ours, no user, no JetStream.
// Standard input: {"url", "grant"}. Standard output: {"size", "sha256", "windows", "confirmed"}.
"use strict";
const { createHash, randomBytes } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { connect } = require("@nats-io/transport-node");
const { decode, encode } = require("@msgpack/msgpack");

// RFC 4648 base32, lower case, without padding.
function base32(bytes) {
  let bits = "";
  for (const byte of bytes) bits += byte.toString(2).padStart(8, "0");
  return bits.match(/.{1,5}/g).map((five) => "abcdefghijklmnopqrstuvwxyz234567"[parseInt(five.padEnd(5, "0"), 2)]).join("");
}

async function main() {
  const { url, grant } = JSON.parse(readFileSync(0, "utf8"));
  const asker = base32(createHash("sha256").update(grant).digest().subarray(0, 16));
  const connection = await connect({ servers: url, token: grant, inboxPrefix: `_INBOX_${asker}`, reconnect: false });
  try {
    const n = randomBytes(16).toString("base64url");
    const chunks = connection.subscribe(`bp.dlv.${asker}.${n}`)[Symbol.asyncIterator]();
    const ask = async (verb, fields) => {
      const reply = await connection.request(`bp.${verb}.${grant}.${asker}`, encode(fields), { timeout: 5000 });
      const answer = decode(reply.data);
      if (answer.error) throw new Error(answer.error.message);
      return answer;
    };

    const { lease, info, data } = await ask("pull", { n });
    const digest = createHash("sha256");
    let size = 0;
    let windows = 1;
    const take = (bytes) => {
      digest.update(bytes);
      size += bytes.length;
    };
    if (data) take(data);
    const [first, count] = info.runs.at(-1) ?? [0, 0];
    let after = -1;
    while (!data && after < first + count - 1) {
      const { value: message } = await chunks.next();
      if (message.headers.code === 204) {
        windows += 1;
        await ask("pull", { n, lease, after });
      } else {
        after = Number(message.headers.get("Nats-Sequence"));
        take(message.data);
      }
    }
    const sha256 = digest.digest("hex");
    if (sha256 !== info.digest) throw new Error("the digest does not hold");
    await ask("confirm", { lease, status: "success", bytes_received: size });
    console.log(JSON.stringify({ size, sha256, windows, confirmed: true }));
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
