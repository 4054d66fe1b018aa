// The language that a person has chosen in ComfyUI, and the pack's own few words in it.
import { app } from "../../../scripts/app.js";

const CHINESE = {
  "more settings": "更多设置",
  "fewer settings": "收起设置",
  "as in the preset": "按预设",
  "as in the model": "按模型",
  "as in the latent": "按 latent",
  "as in the latent, or 512 without one": "按 latent，未连接时为 512",
  "as in the MODEL, or a sampling node before it": "按 MODEL 或其前的采样节点",
  "as eta_zero says": "按 eta_zero",
  off: "关闭",
  Slider: "滑块",
  "Side by side": "并排",
  Play: "播放",
  Pause: "暂停",
  "Run the graph to see before and after here.": "运行后在此查看擦除前后的对比。",
};

export function chosenLanguage() {
  return String(app.ui?.settings?.getSettingValue("Comfy.Locale") ?? "en").startsWith("zh") ? "zh" : "en";
}

export function inLanguage(text) {
  return (chosenLanguage() === "zh" && CHINESE[text]) || text;
}
