// Runs in every document before the page's own scripts: time that only moves when it is told to, chance with a seed, and
// a note of what the page listens to. `NAME` is replaced by a name that the page cannot know.
(() => {
  "use strict";
  const EPOCH = Date.UTC(2026, 0, 1, 8);
  const FRAME = 1000 / 60;
  const MOST_CALLS = 50_000; // of timers, in one advance: more is a page that never comes to rest
  let now = 0, order = 0, calls = 0;
  const timers = new Map(); // id → { at, order, every, run }

  const call = (run) => { try { run(); } catch (error) { reportError(error); } };
  const add = (at, run, every = null) => { timers.set(++order, { at, order, every, run }); return order; };
  const code = (what, args) => (typeof what === "function" ? () => what(...args) : () => (0, eval)(String(what)));
  const wait = (delay) => Math.max(1, Number(delay) || 0);
  const cancel = (id) => void timers.delete(Number(id));
  const nextFrame = () => (Math.floor(now / FRAME + 1e-6) + 1) * FRAME;
  window.setTimeout = (what, delay, ...args) => add(now + wait(delay), code(what, args));
  window.setInterval = (what, delay, ...args) => add(now + wait(delay), code(what, args), wait(delay));
  window.requestAnimationFrame = (what) => add(nextFrame(), () => what(now));
  window.requestIdleCallback = (what) => add(now + 1, () => what({ didTimeout: false, timeRemaining: () => 10 }));
  window.clearTimeout = window.clearInterval = window.cancelAnimationFrame = window.cancelIdleCallback = cancel;

  window.Date = new Proxy(Date, {
    construct: (real, args, as) => Reflect.construct(real, args.length ? args : [EPOCH + now], as),
    apply: (real) => new real(EPOCH + now).toString(),
    get: (real, key) => (key === "now" ? () => Math.floor(EPOCH + now) : Reflect.get(real, key)),
  });
  Performance.prototype.now = () => now;
  Object.defineProperty(Event.prototype, "timeStamp", { get: () => now, configurable: true });

  let seed = 0x9e3779b9;
  const random = () => { // mulberry32
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  Math.random = random;
  Crypto.prototype.getRandomValues = (into) => {
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random() * 256;
    return into;
  };
  Crypto.prototype.randomUUID = () => "10000000-1000-4000-8000-100000000000".replace(/[018]/g, () => ((random() * 16) | 0).toString(16));

  // Promises and messages that a timer has set off are done before the next timer.
  const { port1, port2 } = new MessageChannel();
  let done = null;
  port1.onmessage = () => done?.();
  const settle = () => new Promise((resolve) => { done = resolve; port2.postMessage(0); });

  const animate = (by) => { // the animations' own clock stands still
    for (const animation of document.getAnimations()) {
      if (animation.playState === "running") animation.currentTime = Number(animation.currentTime ?? 0) + by;
    }
  };

  async function advance(milliseconds) {
    const end = now + milliseconds;
    calls = 0;
    await settle();
    for (let frame = now; frame < end; ) {
      const limit = Math.min(frame + FRAME, end);
      for (;;) {
        let next = null;
        for (const timer of timers.values()) {
          if (timer.at <= limit && (next === null || timer.at < next.at || (timer.at === next.at && timer.order < next.order))) next = timer;
        }
        if (next === null) break;
        if (++calls > MOST_CALLS) return false;
        now = Math.max(now, next.at);
        timers.delete(next.order);
        if (next.every !== null) timers.set(next.order, { ...next, at: next.at + next.every });
        call(next.run);
        await settle();
      }
      now = limit;
      animate(limit - frame);
      frame = limit;
    }
    await settle();
    return true;
  }

  // What the page listens to, and what it does that is not to be seen.
  const POINTER = /^(click|dblclick|mousedown|mouseup|pointerdown|pointerup|touchstart|touchend)$/;
  const KEYS = /^(keydown|keyup|keypress)$/;
  const pointed = new WeakSet();
  let keys = false, effects = 0;
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (kind, ...rest) {
    if (POINTER.test(kind)) pointed.add(this ?? window);
    if (KEYS.test(kind)) keys = true;
    return listen.call(this, kind, ...rest);
  };
  const HANDLERS = ["onclick", "ondblclick", "onmousedown", "onmouseup", "onpointerdown", "onpointerup", "ontouchstart", "ontouchend"];
  const takesPointer = (target) => pointed.has(target) || HANDLERS.some((name) => target[name]);
  const takesKeys = () => keys || [window, document, document.body].some((t) => t && (t.onkeydown || t.onkeyup || t.onkeypress));
  const count = (owner, name) => {
    const real = owner?.[name];
    if (typeof real === "function") owner[name] = function (...args) { effects++; return real.apply(this, args); };
  };
  count(window.Clipboard?.prototype, "writeText");
  count(window.Clipboard?.prototype, "write");
  count(Document.prototype, "execCommand");
  count(window, "print");
  count(Element.prototype, "requestFullscreen");
  count(Element.prototype, "requestPointerLock");
  count(HTMLMediaElement.prototype, "play");
  count(window.AudioScheduledSourceNode?.prototype, "start");
  count(window.SpeechSynthesis?.prototype, "speak");
  count(window.Navigator.prototype, "share");

  Object.defineProperty(window, "NAME", {
    value: Object.freeze({ advance, takesPointer, takesKeys, effects: () => effects }),
  });
})();
