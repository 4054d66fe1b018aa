// The pack's templates in the template browser: readable names, a fixed order, moving pictures, Chinese graphs.
// The browser takes the name of a file for its title, and its picture is always the .jpg of that name. So the list gets
// titles, and an address with a title is turned back into that of the file.
import { api } from "../../../scripts/api.js";
import { chosenLanguage } from "./language.js";

const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/").at(-1).split("/")[0]);
const ROUTE = `/workflow_templates/${PACK}/`;
// In this order; each has a .webp, and a graph in zh/.
const TITLES = {
  erase_a_concept: { en: "Erase a concept", zh: "擦除一个概念" },
  few_shot_encoder: { en: "Unlearn a concept in the text encoder", zh: "让文本编码器遗忘一个概念" },
  both_methods_side_by_side: { en: "Both methods side by side", zh: "两种方法并排比较" },
  erase_native: { en: "Erase with ComfyUI's own nodes", zh: "用 ComfyUI 自带的节点擦除" },
  erase_native_encoder: { en: "Unlearn with ComfyUI's own nodes", zh: "用 ComfyUI 自带的节点让 CLIP 遗忘" },
  erase_from_wan_2_1_1_3b: { en: "Erase from Wan 2.1 1.3B", zh: "从 Wan 2.1 1.3B 中擦除" },
  erase_from_wan_2_2_a14b: { en: "Erase from Wan 2.2 A14B", zh: "从 Wan 2.2 A14B 中擦除" },
  erase_from_ltx_video: { en: "Erase from LTX Video", zh: "从 LTX Video 中擦除" },
  erase_from_hunyuan_video: { en: "Erase from HunyuanVideo", zh: "从 HunyuanVideo 中擦除" },
};
const ORDER = Object.keys(TITLES);

export function nameTemplates() {
  const { apiURL, getWorkflowTemplates } = api;
  const files = {};
  api.getWorkflowTemplates = async function () {
    const packs = await getWorkflowTemplates.apply(api, arguments);
    const names = packs[PACK];
    if (!names) return packs;
    names.sort((a, b) => place(a) - place(b) || a.localeCompare(b));
    return { ...packs, [PACK]: names.map((name) => titled(name, files)) };
  };
  api.apiURL = (route) => apiURL.call(api, routeOfFile(route, files));
}

function place(name) {
  return ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length;
}

function titled(name, files) {
  const title = TITLES[name]?.[chosenLanguage()] ?? TITLES[name]?.en ?? name.replaceAll("_", " ");
  files[title] = name;
  return title;
}

// A picture's address is asked for without its suffix, which is put behind it: the ? keeps the .webp.
function routeOfFile(route, files) {
  if (!route.startsWith(ROUTE)) return route;
  const asked = route.slice(ROUTE.length);
  if (files[asked]) return `${ROUTE}${files[asked]}${TITLES[files[asked]] ? ".webp?" : ""}`;
  const name = files[asked.replace(/\.json$/, "")];
  if (!name) return route;
  return `${ROUTE}${TITLES[name] && chosenLanguage() === "zh" ? "zh/" : ""}${name}.json`;
}
