// Answers, for each case, what the page makes of two changes of one text: see test_session_page.py.
import { pathToFileURL } from "node:url";

const question = JSON.parse(await new Response(process.stdin).text());
const changes = await import(pathToFileURL(question.module));

const answers = question.cases.map(({ text, one, other }) => {
  const [first, second] = [one, other].map((next) => changes.opsBetween(text, next));
  return {
    ops: changes.toWire(first, text),
    other: changes.toWire(second, text),
    merged: changes.applyOps(other, changes.transformOps(first, second, "left")),
    mirrored: changes.applyOps(one, changes.transformOps(second, first, "right")),
    read: changes.applyOps(text, changes.fromWire(changes.toWire(first, text), text)),
  };
});
console.log(JSON.stringify(answers));
