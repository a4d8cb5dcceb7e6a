// Every text of the page, in both languages.

const WORDS = {
  en: {
    newChat: "New chat", search: "Search chats", settings: "Settings", send: "Send", stop: "Stop", ask: "Ask anything…",
    edit: "Edit", save: "Save and ask", cancel: "Cancel", copy: "Copy", copied: "Copied", again: "Regenerate", remove: "Delete",
    thinking: "Thinking…", thought: "Thought", call: "Call", result: "Result", giveResult: "What does it return?",
    sendResults: "Send results", system: "System message", preset: "Sampling", own: "Own settings", temperature: "Temperature",
    topP: "Top-p", maxTokens: "Tokens at most", tools: "Tools (JSON)", key: "API key",
    export: "Export", import: "Import", empty: "What shall we talk about?", run: "Run", close: "Close", artifact: "Page",
    fix: "Fix this", console: "Console", badTools: "This is no JSON list of tools.", cut: "cut: no tokens left",
    tokens: "tokens", perSecond: "tok/s", first: "first after", cached: "cached", failed: "Failed", menu: "Chats",
    language: "中文", model: "Model", name: "Untitled",
    stage: "Stage", kind: "Kind", state: "State", steps: "Steps", seconds: "Seconds", meanScore: "Mean score",
    states: { complete: "complete", running: "running" }, passRates: "Running pass rates of the rollouts", scores: "Scores",
    rollouts: "Rollouts at step", newest: "newest", ofGroup: (share) => `${share} of its group`, reward: "reward",
    sideBySide: "Two stages side by side",
    check: "Check it", checking: "Checking…", passed: "Nothing is wrong", notPassed: "Something is wrong",
    rules: {
      loads: "It loads", shows: "It shows something", alive: "It neither hangs nor crashes", no_errors: "No errors",
      stays: "It needs nothing from elsewhere", answers: "Every control answers", fits_phone: "It fits a phone",
      named: "Every control has a name",
    },
  },
  zh: {
    newChat: "新对话", search: "搜索对话", settings: "设置", send: "发送", stop: "停止", ask: "请输入问题…",
    edit: "编辑", save: "保存并提问", cancel: "取消", copy: "复制", copied: "已复制", again: "重新生成", remove: "删除",
    thinking: "思考中…", thought: "思考过程", call: "调用", result: "结果", giveResult: "它返回什么？",
    sendResults: "提交结果", system: "系统消息", preset: "采样", own: "自定义", temperature: "温度",
    topP: "Top-p", maxTokens: "最多词元数", tools: "工具（JSON）", key: "API 密钥",
    export: "导出", import: "导入", empty: "想聊点什么？", run: "运行", close: "关闭", artifact: "网页",
    fix: "修复", console: "控制台", badTools: "这不是 JSON 工具列表。", cut: "已截断：词元用完",
    tokens: "词元", perSecond: "词元/秒", first: "首词元", cached: "缓存", failed: "失败", menu: "对话",
    language: "English", model: "模型", name: "未命名",
    stage: "阶段", kind: "类型", state: "状态", steps: "步数", seconds: "秒", meanScore: "平均分",
    states: { complete: "已完成", running: "进行中" }, passRates: "采样的滑动通过率", scores: "得分",
    rollouts: "采样轨迹，步", newest: "最新", ofGroup: (share) => `同组通过 ${share}`, reward: "奖励",
    sideBySide: "两个阶段并排对话",
    check: "检查", checking: "检查中…", passed: "未发现问题", notPassed: "发现问题",
    rules: {
      loads: "可以加载", shows: "有内容显示", alive: "没有卡死或崩溃", no_errors: "没有报错", stays: "不依赖外部资源",
      answers: "每个控件都有响应", fits_phone: "适合手机屏幕", named: "每个控件都有名称",
    },
  },
};

export function preferredLanguage() {
  return localStorage.getItem("telechat.language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
}

export function wordsOf(language) {
  return WORDS[language] ?? WORDS.en;
}
