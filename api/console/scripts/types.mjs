// Write the file of the first argument from the OpenAPI document on stdin: the shapes alone, without texts and examples.
import { writeFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import openapiTS, { astToString } from "openapi-typescript";

const document = JSON.parse(await text(process.stdin));
const left_out = new Set(["description", "summary", "example", "discriminator", "title"]);

/** Return a schema without what only people read. Names of members are kept, whatever they are. */
function shape(value, isNames = false) {
  if (Array.isArray(value)) return value.map((one) => shape(one));
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([name]) => isNames || !left_out.has(name));
  return Object.fromEntries(kept.map(([name, one]) => [name, shape(one, !isNames && name === "properties")]));
}

/** Return the params and the result of a method. */
function method(operation) {
  const content = (part) => shape(part?.content?.["application/json"]?.schema ?? { type: "object" });
  return {
    type: "object",
    required: ["params", "result"],
    properties: { params: content(operation.requestBody), result: content(operation.responses["200"]) },
  };
}

const methods = Object.entries(document.paths)
  .filter(([path, { post }]) => path.startsWith("/v2/") && post)
  .map(([path, { post }]) => [path.slice("/v2/".length), method(post)]);
const schemas = {
  ...shape(document.components.schemas, true),
  Methods: { type: "object", required: methods.map(([name]) => name), properties: Object.fromEntries(methods) },
};
const ast = await openapiTS(
  { openapi: "3.1.0", info: { title: "", version: "" }, paths: {}, components: { schemas } },
  { defaultNonNullable: false },
);
const head = "// Made by `make console` from our own /openapi.json; do not edit.\n";
writeFileSync(process.argv[2], head + astToString(ast));
