// What the TypeScript SDK's client makes of each call, on each way to the server. It validates every result against the
// tool's output schema, and throws where it does not fit. Question on standard input, answer on standard output: JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.SDK_FROM);
const load = async (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${name}.js`)));
const { Client } = await load("index");
const { StdioClientTransport } = await load("stdio");
const { StreamableHTTPClientTransport } = await load("streamableHttp");

async function seen(where, calls) {
  const transport = typeof where === "string" ? new StreamableHTTPClientTransport(new URL(where)) : new StdioClientTransport(where);
  const client = new Client({ name: "matrix", version: "1" });
  await client.connect(transport);
  await client.listTools();
  const found = [];
  for (const [name, args] of calls) {
    const result = await client.callTool({ name, arguments: args });
    found.push({ structured: result.structuredContent ?? null, content: result.content, error: Boolean(result.isError) });
  }
  await client.close();
  return found;
}

let raw = "";
for await (const piece of process.stdin) raw += piece;
const asked = JSON.parse(raw);
const answer = {};
for (const [way, where] of Object.entries(asked.ways)) answer[way] = await seen(where, asked.calls);
process.stdout.write(JSON.stringify(answer));
