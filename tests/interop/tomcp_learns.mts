// Runs beside a checkout of ToMCP (its directory is the argument): its client carries out our Level 2 descriptors, with
// code that the question brings in place of a model. One cache serves all of them, as in one process of it.
const where: string = process.argv[2]
const { TransferDescriptorSchema } = await import(`${where}/packages/types/src/index.ts`)
const { handleDescriptor } = await import(`${where}/packages/client/src/handler.ts`)
const { createCodeCache } = await import(`${where}/packages/client/src/code-cache.ts`)
let text = ''
for await (const piece of process.stdin) text += piece
const prompts: string[] = []
const cache = createCodeCache()
const answers = []
for (const { descriptor, code } of JSON.parse(text).transfers) {
  const provider = {
    name: 'scripted',
    generateCode: async (prompt: string) => {
      prompts.push(prompt)
      return code
    },
  }
  const done = await handleDescriptor(TransferDescriptorSchema.parse(descriptor), { provider, cache })
  answers.push({ success: done.success, stdout: done.sandboxResult.stdout, stderr: done.sandboxResult.stderr })
}
console.log(JSON.stringify({ answers, prompts }))
