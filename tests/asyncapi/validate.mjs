// Reads an AsyncAPI document on standard input and prints what the parser finds in it, a line each; exits with 1 if
// that is an error.
import { Parser } from "@asyncapi/parser";
import { text } from "node:stream/consumers";

const ERROR = 0;
const WARNING = 1;

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
const grave = diagnostics.filter(({ severity }) => severity <= WARNING);
for (const { severity, code, message, path } of grave) {
  console.log(`${severity === ERROR ? "error" : "warning"} ${code} at ${path.join(".")}: ${message}`);
}
process.exit(document === undefined || grave.some(({ severity }) => severity === ERROR) ? 1 : 0);
