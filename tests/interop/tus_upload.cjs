// tus-js-client uploads a file: a question in JSON on standard input, the answer on standard output.
const fs = require("fs");
const tus = require("tus-js-client");

const { url, path, protocol, chunkSize } = JSON.parse(fs.readFileSync(0, "utf8"));
const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint: url,
  protocol,
  chunkSize: chunkSize || Infinity,
  uploadSize: fs.statSync(path).size,
  metadata: { filename: "clip.bin", filetype: "video/mp4" },
  retryDelays: Array(20).fill(20),
  onError: (error) => {
    process.stderr.write(String(error));
    process.exit(1);
  },
  onSuccess: (payload) => {
    const location = payload.lastResponse.getHeader("Content-Location");
    process.stdout.write(JSON.stringify({ url: upload.url, location }));
  },
});
upload.start();
