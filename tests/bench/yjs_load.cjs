// Participants that edit one text through unmodified y-websocket providers, and see each other's edits.
//
//   NODE_PATH=… node yjs_load.cjs '{"url", "room", "participants", "edits", "per_second", "window"}'
//
// An edit inserts a token `<participant>.<number>;` at a random place. It is visible at another participant when that
// one's own document has it. All make the same number of edits, so `edits` is rounded up. With `per_second`, each makes
// so many a second, whatever happens; with `window`, each makes its next edit as soon as less than that many of its own
// are not visible at its neighbour.
// Prints one line of JSON: the percentiles from edit to visible at every other participant, and the whole time.
"use strict"

const { createHash } = require("node:crypto")
const Y = require("yjs")
const { WebsocketProvider } = require("y-websocket")
const WebSocket = require("ws")

process.setMaxListeners(0)  // each provider listens for the end of the process
const asked = { per_second: 0, window: 0, ...JSON.parse(process.argv[2]) }
const EACH = Math.ceil(asked.edits / asked.participants)
asked.edits = EACH * asked.participants
const TOKEN = /(\d+)\.(\d+);/g
const START_SECONDS = 60
const END_SECONDS = 120

const made = []           // made[participant][number]: when that edit was made, in milliseconds
const waits = []          // milliseconds from an edit to its visibility at one other participant
const seen = []           // seen[participant]: how many tokens its document has
let finished = null       // called when everybody has everything
let continues = () => {}  // called when a neighbour has seen an edit of a participant

function participant(number) {
  const doc = new Y.Doc({ gc: true })
  const text = doc.getText("artifact")
  const provider = new WebsocketProvider(asked.url, asked.room, doc, {
    WebSocketPolyfill: WebSocket,
    disableBc: true,
    params: { name: `p${number}` }
  })
  made[number] = []
  seen[number] = 0
  const before = (number - 1 + asked.participants) % asked.participants
  text.observe(event => {
    const now = performance.now()
    for (const { insert } of event.delta) {
      if (insert === undefined) continue
      for (const [, from, edit] of insert.matchAll(TOKEN)) {
        seen[number] += 1
        if (Number(from) === number) continue
        waits.push(now - made[from][edit])
        if (Number(from) === before) continues(before)
      }
    }
    if (seen[number] === asked.edits && seen.every(count => count === asked.edits)) finished()
  })
  return { number, text, provider }
}

function edit({ number, text }) {
  const count = made[number].length
  made[number].push(performance.now())
  // Only between tokens: an insertion into one would hide it from the observers of a document that has both at once.
  const place = Math.floor(Math.random() * 8)
  let at = text.length
  if (place && at) {
    const end = text.toString().indexOf(";", Math.floor(Math.random() * at))
    at = end < 0 ? at : end + 1
  }
  text.insert(at, `${number}.${count};`)
}

function paced(participants) {
  for (const one of participants) {
    const period = 1000 / asked.per_second
    const from = performance.now() + period * one.number / asked.participants
    const next = () => {
      edit(one)
      const count = made[one.number].length
      if (count < EACH) setTimeout(next, Math.max(0, from + period * count - performance.now()))
    }
    setTimeout(next, from - performance.now())
  }
}

function flatOut(participants) {
  const visible = participants.map(() => 0)
  const fill = number => {
    while (made[number].length < EACH && made[number].length - visible[number] < asked.window) edit(participants[number])
  }
  continues = number => {
    visible[number] += 1
    setImmediate(fill, number)
  }
  for (const one of participants) fill(one.number)
}

function within(seconds, what, start) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${what} took more than ${seconds} s: ${seen}`)), seconds * 1000)
    start(() => { clearTimeout(late); resolve() })
  })
}

async function main() {
  const participants = Array.from({ length: asked.participants }, (_, number) => participant(number))
  await within(START_SECONDS, "joining", done => {
    const check = () => { if (participants.every(one => one.provider.synced)) done() }
    for (const one of participants) one.provider.on("sync", check)
  })
  const began = performance.now()
  await within(END_SECONDS, "the edits", done => {
    finished = done
    asked.per_second ? paced(participants) : flatOut(participants)
  })
  const ms = performance.now() - began
  const texts = new Set(participants.map(one => one.text.toString()))
  if (texts.size !== 1) throw new Error(`${texts.size} different texts at ${asked.participants} participants`)
  const tokens = [...texts][0].match(TOKEN).sort()
  waits.sort((one, other) => one - other)
  const at = share => waits[Math.min(waits.length - 1, Math.floor(share * waits.length))]
  console.log(JSON.stringify({
    ms,
    p50: at(0.5),
    p99: at(0.99),
    rows: tokens.length,
    checksum: createHash("sha256").update(tokens.join("")).digest("hex")
  }))
  for (const one of participants) one.provider.destroy()
  process.exit(0)
}

main().catch(error => { console.error(String(error)); process.exit(1) })
