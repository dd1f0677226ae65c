// What the README's program uses of vitest, where that is not installed.
import assert from "node:assert";

export const test = (name, run) => run().then(() => console.log(`ok ${name}`));
export const expect = (value) => ({
  toMatchObject: (wanted) => Object.entries(wanted).forEach(([key, one]) => assert.deepStrictEqual(value[key], one)),
});
