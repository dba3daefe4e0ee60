// Runs beside a checkout of ToMCP (its directory is the argument): its parser and its Level 1 client take ours.
const where: string = process.argv[2]
const { TransferDescriptorSchema } = await import(`${where}/packages/types/src/index.ts`)
const { isLevel1, executeLevel1 } = await import(`${where}/packages/client/src/level1.ts`)
let text = ''
for await (const piece of process.stdin) text += piece
const answers = []
for (const fields of JSON.parse(text).descriptors) {
  const parsed = TransferDescriptorSchema.safeParse(fields)
  const done = parsed.success && fields.protocol === 'http' ? await executeLevel1(parsed.data) : null
  answers.push({ parsed: parsed.success, level1: parsed.success && isLevel1(parsed.data), stdout: done?.stdout ?? null })
}
console.log(JSON.stringify(answers))
