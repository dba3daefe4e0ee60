// Reads one object with NATS's own object store, as any program in JavaScript would.
// Standard input: {"url", "bucket", "name"}. Standard output: what it found.
"use strict";
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { connect } = require("@nats-io/transport-node");
const { Objm } = require("@nats-io/obj");

async function main() {
  const asked = JSON.parse(readFileSync(0, "utf8"));
  const connection = await connect({ servers: asked.url });
  try {
    const store = await new Objm(connection).open(asked.bucket);
    const info = await store.info(asked.name);
    const bytes = await store.getBlob(asked.name); // it compares the digest itself
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    console.log(JSON.stringify({ size: bytes.length, sha256, chunks: info.chunks, digest: info.digest }));
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
