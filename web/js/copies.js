// Warns if the nodes come from another copy of this pack than this file: ComfyUI uses the nodes that it loads last.
import { app } from "../../../scripts/app.js";

const OWN = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/").at(-1).split("/")[0]);
let warned = false;

export function warnOfCopy(module) {
  const other = module?.replace(/^custom_nodes\./, "");
  if (warned || !other || other === OWN) return;
  warned = true;
  const detail = `custom_nodes has it in ${OWN} and in ${other}. Remove one of the two folders and start ComfyUI again.`;
  console.warn(`T2V Unlearning is installed twice: ${detail}`);
  app.extensionManager?.toast?.add({ severity: "warn", summary: "T2V Unlearning is installed twice", detail });
}
