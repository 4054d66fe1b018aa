// The frontend part of the pack: results that stay on the nodes, and labels that can always be read.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { coverZeros, factsOf, labelWidgets } from "./labels.js";
import { addPlayer, showPairs } from "./player.js";
import { nameTemplates } from "./templates.js";
import { removePreview, removeProgress, showWords } from "./words.js";
import { warnOfCopies, warnOfCopy } from "./copies.js";

const KEPT_TEXT = "t2v-unlearning.text";
const OURS = "T2VU";

function show(node, output) {
  if (!output) return;
  showWords(node, output.text?.join("\n"));
  showPairs(node, output.pairs);
}

// "7:3" is node 3 in the subgraph node 7.
function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}

nameTemplates();

app.registerExtension({
  name: "T2VUnlearning",

  setup() {
    warnOfCopies();
    api.addEventListener(KEPT_TEXT, ({ detail }) => {
      const node = nodeOf(detail.node);
      if (!node) return;
      removeProgress(node);
      showWords(node, detail.text);
    });
  },

  beforeRegisterNodeDef(type, data) {
    if (!data.name.startsWith(OURS)) return;
    warnOfCopy(data.python_module);
    coverZeros(data.name, factsOf(data));
    const executed = type.prototype.onExecuted;
    type.prototype.onExecuted = function (output) {
      executed?.apply(this, arguments);
      if (output?.text || output?.pairs) removeProgress(this);
      if (output?.images) removePreview(this);
      show(this, output);
    };
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(OURS)) return;
    labelWidgets(node);
    if (node.comfyClass === "T2VUCompare") addPlayer(node);
  },

  // A workflow that comes back, as another tab or after an undo, has its outputs, and its nodes are new.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = nodeOf(id);
      if (node?.comfyClass?.startsWith(OURS)) show(node, output);
    }
  },
});
