// What ot-text-unicode makes of operations: {cases: [{text, ours, theirs, next, cursors}]} on standard input.
const { type } = require("ot-text-unicode");

const answerOf = ({ text, ours, theirs, next, cursors }) => {
  const keep = JSON.stringify; // its functions may change what they are given
  return {
    applied: type.apply(text, ours),
    left: type.transform(ours, theirs, "left"),
    right: type.transform(theirs, ours, "right"),
    composed: type.compose(ours, next),
    inverted: type.invert(JSON.parse(keep(ours))),
    normal: type.normalize(JSON.parse(keep(ours))),
    cursors: cursors.map((each) => type.transformPosition(each, ours)),
  };
};

let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => console.log(JSON.stringify(JSON.parse(input).cases.map(answerOf))));
