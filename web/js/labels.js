// Labels where classic nodes show none, words in the place of a 0 that stands for something, and rarely used inputs folded.
// Nodes 2.0 has labels and folds by itself.
import { inLanguage } from "./language.js";
import { makeRoom } from "./words.js";

const MORE = "more settings";
const LESS = "fewer settings";

export function labelWidgets(node) {
  const facts = factsOf(node.constructor.nodeData);
  for (const widget of node.widgets ?? []) {
    const { t2vu_zero: zero } = facts[widget.name] ?? {};
    if (zero) nameZero(widget, inLanguage(zero));
  }
  const folded = (node.widgets ?? []).filter((widget) => facts[widget.name]?.advanced);
  // Both kinds of nodes leave the room of folded widgets empty.
  for (const widget of folded) takeNoRoom(widget, () => !node.showAdvanced);
  if (LiteGraph.vueNodesMode) return;
  labelTexts(node);
  fold(node, folded);
}

export function factsOf(data) {
  const { required, optional } = data?.input ?? {};
  const found = { ...required, ...optional };
  return Object.fromEntries(Object.entries(found).map(([name, [, options]]) => [name, options ?? {}]));
}

// "as in the preset" reads better than 0. The value itself stays a number.
function nameZero(widget, zero) {
  let kind = widget;
  while (kind && !Object.getOwnPropertyDescriptor(kind, "_displayValue")) kind = Object.getPrototypeOf(kind);
  const shown = kind && Object.getOwnPropertyDescriptor(kind, "_displayValue").get;
  if (!shown) return;
  Object.defineProperty(widget, "_displayValue", {
    configurable: true,
    get() {
      return this.value === 0 && !this.computedDisabled ? zero : shown.call(this);
    },
  });
}

// Nodes 2.0 draws numbers as HTML inputs and asks no widget for its words: a style covers the 0.
export function coverZeros(type, facts) {
  const rules = Object.entries(facts).filter(([, { t2vu_zero: zero }]) => zero);
  if (!rules.length) return;
  const sheet = document.head.appendChild(document.createElement("style"));
  sheet.textContent = rules.map(([name, { t2vu_zero: zero }]) => rulesOfZero(type, name, inLanguage(zero))).join("\n");
}

function rulesOfZero(type, name, zero) {
  const input = 'input[aria-valuenow="0"]:not(:focus)';
  const field = `[node-type="${type}"] [aria-label="${name}"] div:has(> ${input})`;
  return `${field} > input { color: transparent; }
${field}::after { content: ${JSON.stringify(zero)}; position: absolute; inset: 0; padding: 4px; line-height: 1.25;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; pointer-events: none; }`;
}

// A multiline text shows its name only while it is empty: above a filled one the name is drawn.
function labelTexts(node) {
  const drawn = node.onDrawForeground;
  node.onDrawForeground = function (context) {
    drawn?.apply(this, arguments);
    if (this.flags?.collapsed || LiteGraph.vueNodesMode) return;
    for (const widget of this.widgets ?? []) {
      if (!isText(widget) || !widget.value || !this.isWidgetVisible(widget)) continue;
      context.font = "9px sans-serif";
      context.textAlign = "left";
      context.fillStyle = LiteGraph.WIDGET_SECONDARY_TEXT_COLOR ?? "#999";
      context.fillText(widget.label ?? widget.name, 14, widget.y + 7);
    }
  };
}

function isText(widget) {
  return widget.type === "customtext";
}

function fold(node, folded) {
  if (!folded.length) return;
  for (const widget of folded) widget.advanced = true;
  const more = node.addWidget("button", MORE, null, () => {
    node.showAdvanced = !node.showAdvanced;
    resize(node);
  });
  // Neither saved with the workflow nor sent with the prompt.
  more.serialize = false;
  more.options.serialize = false;
  // Also after the context menu, and a workflow that was saved unfolded.
  Object.defineProperty(more, "label", { get: () => inLanguage(node.showAdvanced ? LESS : MORE), set() {}, configurable: true });
  resize(node);
}

function takeNoRoom(widget, isHidden) {
  const { computeSize } = widget;
  Object.defineProperty(widget, "computeSize", {
    configurable: true,
    get: () => (isHidden() ? () => [0, -4] : computeSize),
    set() {},
  });
}

function resize(node) {
  const [, height] = node.computeSize();
  node.setSize([node.size[0], height]);
  makeRoom(node);
}
