// Plays the pairs of Compare Before and After in the node: side by side, or one over the other under a slider.
import { api } from "../../../scripts/api.js";
import { inLanguage } from "./language.js";
import { makeRoom } from "./words.js";

const WIDGET = "player";
const HEIGHT = 260;
const PROMPTS = 110;
const STYLE = `
.t2vu-player { display: flex; flex-direction: column; gap: 4px; height: 100%; box-sizing: border-box; font: 12px sans-serif; }
.t2vu-player canvas { flex: 1 1 auto; min-height: 0; width: 100%; object-fit: contain; background: #111; border-radius: 4px;
  cursor: pointer; }
.t2vu-player div { display: flex; gap: 6px; align-items: center; }
.t2vu-player select { flex: 1 1 auto; min-width: 0; }
.t2vu-player button, .t2vu-player select { font: inherit; color: var(--input-text, #ddd); padding: 2px 6px;
  background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; }
.t2vu-player input[type=range] { flex: 1 1 auto; min-width: 60px; }
.t2vu-player p { margin: auto; color: var(--descrip-text, #999); }
.t2vu-player [hidden] { display: none; }
`;

export function showPairs(node, pairs) {
  if (pairs?.length) node.widgets?.find((w) => w.name === WIDGET)?.t2vuPlayer.load(pairs);
}

export function addPlayer(node) {
  const player = new Player();
  const widget = node.addDOMWidget(WIDGET, "t2vu_player", player.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => HEIGHT,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  widget.t2vuPlayer = player;
  const removed = widget.onRemove;
  widget.onRemove = function () {
    player.stop();
    removed?.apply(this, arguments);
  };
  const prompts = node.widgets.find((w) => w.name === "prompts");
  if (prompts) prompts.options.getMaxHeight = () => PROMPTS;
  makeRoom(node);
}

// One video holds both clips next to each other, so that they can never be out of step.
class Player {
  constructor() {
    this.video = Object.assign(document.createElement("video"), { loop: true, muted: true, autoplay: true, playsInline: true });
    this.canvas = document.createElement("canvas");
    this.prompts = document.createElement("select");
    this.mode = button(inLanguage("Slider"));
    this.pause = button(inLanguage("Pause"));
    this.over = 0; // Which clip lies over the first one; 0: all side by side.
    this.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 50, hidden: true });
    this.slider.setAttribute("aria-label", "before and after");
    this.prompts.setAttribute("aria-label", "prompt");
    this.element = document.createElement("div");
    this.element.className = "t2vu-player";
    this.hint = Object.assign(document.createElement("p"), {
      textContent: inLanguage("Run the graph to see before and after here."),
    });
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.element.append(style, this.hint);
    this.prompts.onchange = () => this.open(this.prompts.selectedIndex);
    this.mode.onclick = () => this.toggleMode();
    this.slider.oninput = () => this.draw();
    this.pause.onclick = this.canvas.onclick = () => this.togglePause();
    this.video.onloadeddata = () => this.draw();
    // The node must not be dragged while its slider is.
    for (const type of ["pointerdown", "pointermove"]) this.slider.addEventListener(type, (e) => e.stopPropagation());
  }

  load(pairs) {
    if (this.hint.parentElement) this.hint.replaceWith(row(this.prompts), this.canvas, row(this.mode, this.pause, this.slider));
    this.pairs = pairs;
    this.over = 0;
    this.update();
    const open = Math.min(Math.max(this.prompts.selectedIndex, 0), pairs.length - 1);
    this.prompts.replaceChildren(...pairs.map((pair) => new Option(pair.prompt)));
    this.open(open);
  }

  open(index) {
    this.prompts.selectedIndex = index;
    const { filename, subfolder, type } = this.pairs[index];
    this.video.src = api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
    this.play();
  }

  play() {
    this.pause.textContent = inLanguage("Pause");
    // Where a browser forbids it, the first frame is shown.
    this.video.play().catch(() => {});
    cancelAnimationFrame(this.frame);
    const tick = () => {
      if (!this.video.paused) this.draw();
      this.frame = requestAnimationFrame(tick);
    };
    tick();
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.video.pause();
  }

  togglePause() {
    if (this.video.paused) return this.play();
    this.stop();
    this.pause.textContent = inLanguage("Play");
  }

  get titles() {
    return this.pairs[Math.max(this.prompts.selectedIndex, 0)]?.titles ?? ["before", "after"];
  }

  toggleMode() {
    this.over = (this.over + 1) % this.titles.length;
    this.update();
    this.draw();
  }

  update() {
    const next = (this.over + 1) % this.titles.length;
    this.slider.hidden = !this.over;
    this.mode.textContent = next ? `${inLanguage("Slider")}: ${this.titles[next]}` : inLanguage("Side by side");
  }

  draw() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return;
    const { over, titles } = this;
    const part = width / titles.length;
    const context = this.canvas.getContext("2d");
    this.canvas.width = over ? part : width;
    this.canvas.height = height;
    if (!over) {
      context.drawImage(this.video, 0, 0);
      titles.forEach((title, number) => {
        if (number) line(context, number * part);
        label(context, title, number * part + 6, "left");
      });
      return;
    }
    const cut = (part * this.slider.value) / 100;
    context.drawImage(this.video, 0, 0, part, height, 0, 0, part, height);
    if (cut < part) context.drawImage(this.video, over * part + cut, 0, part - cut, height, cut, 0, part - cut, height);
    line(context, cut);
    label(context, titles[0], 6, "left");
    label(context, titles[over], part - 6, "right");
  }
}

function line(context, x) {
  context.fillStyle = "#fff";
  context.fillRect(x - 1, 0, 2, context.canvas.height);
}

function label(context, text, x, align) {
  const size = Math.max(12, Math.round(context.canvas.height / 18));
  Object.assign(context, { font: `${size}px sans-serif`, textAlign: align, textBaseline: "top", lineWidth: 3 });
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  context.strokeText(text, x, 4);
  context.fillText(text, x, 4);
}

function button(text) {
  return Object.assign(document.createElement("button"), { type: "button", textContent: text });
}

function row(...parts) {
  const element = document.createElement("div");
  element.append(...parts);
  return element;
}
