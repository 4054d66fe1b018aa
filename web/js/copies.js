// Warns in the browser if custom_nodes holds this pack twice. Then ComfyUI uses the nodes of one copy only.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const OWN = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/").at(-1).split("/")[0]);
let warned = false;

// What the server has found.
export async function warnOfCopies() {
  const answer = await api.fetchApi("/t2v-unlearning/copies");
  if (answer.ok) warn((await answer.json()).join(", "));
}

// An older copy that was loaded later has replaced the nodes: then the server of this copy cannot know.
export function warnOfCopy(module) {
  const other = module?.replace(/^custom_nodes\./, "");
  if (other !== OWN) warn(other);
}

function warn(others) {
  if (warned || !others) return;
  warned = true;
  const detail = `custom_nodes holds it in ${OWN} and in ${others}. Remove one of the folders and start ComfyUI again.`;
  console.warn(`T2V Unlearning is installed twice: ${detail}`);
  app.extensionManager?.toast?.add({ severity: "warn", summary: "T2V Unlearning is installed twice", detail });
}
