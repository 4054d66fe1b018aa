// The words that stay on a node: drawn in a text widget from the node's output, which the frontend does not do by itself.
import { app } from "../../../scripts/app.js";

const WIDGET = "result";
const PROGRESS = "$$node-text-preview";
const LINE = 16;
const MARGIN = 24;
const MOST_LINES = 8;
const REVOKED_MS = 600;

// Nodes 2.0 shows three lines of a text: this one grows with its words.
document.head.appendChild(document.createElement("style")).textContent = `
[data-widget-name="${WIDGET}"] [node-type^="T2VU"] textarea, [node-type^="T2VU"] textarea[readonly] { field-sizing: content; height: auto; min-height: 100%;
  max-height: ${MOST_LINES * LINE + MARGIN}px; }`;

export function showWords(node, text) {
  if (!text) return;
  const widget = node.widgets?.find((w) => w.name === WIDGET) ?? addWidget(node);
  widget.value = text;
  makeRoom(node);
}

// Older frontends keep the last line of progress, which the words replace.
export function removeProgress(node) {
  const at = node.widgets?.findIndex((w) => w.name === PROGRESS) ?? -1;
  if (at < 0) return;
  node.widgets[at].onRemove?.();
  node.widgets.splice(at, 1);
}

// The last preview of a running node would stay over, or next to, the picture of its output.
export function removePreview(node) {
  const stores = document.querySelector("#vue-app")?.__vue_app__?.config.globalProperties.$pinia?._s;
  const outputs = stores?.get("nodeOutput");
  outputs?.revokePreviewsByExecutionId?.(String(node.id));
  // ComfyUI waits 0.4 s. Classic nodes look for pictures again where they have none.
  setTimeout(() => {
    node.images = node.preview = undefined;
    // Nodes 2.0 have chosen between preview and output by now, and choose again when told of the output.
    outputs?.refreshNodeOutputs?.(node);
    node.setDirtyCanvas?.(true, true);
  }, REVOKED_MS);
}

// A node grows where its widgets need more than it has; it never shrinks under a person's hands.
export function makeRoom(node) {
  const [width, height] = node.computeSize();
  if (node.size[0] < width || node.size[1] < height) {
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  }
  node.setDirtyCanvas?.(true, true);
}

function addWidget(node) {
  const { widget } = app.widgets.STRING(node, WIDGET, ["STRING", { multiline: true }], app);
  // Neither saved with the workflow nor sent with the prompt.
  widget.serialize = false;
  Object.assign(widget.options, {
    serialize: false,
    read_only: true,
    getMinHeight: () => heightOf(node, widget),
    getMaxHeight: () => heightOf(node, widget),
  });
  const element = widget.element ?? widget.inputEl;
  if (element) {
    element.readOnly = true;
    element.dataset.t2vuWords = "";
  }
  return widget;
}

function heightOf(node, widget) {
  const columns = Math.max(20, (node.size[0] - 50) / 6.5);
  const count = String(widget.value).split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
  return Math.min(count, MOST_LINES) * LINE + MARGIN;
}
