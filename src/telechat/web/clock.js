// Runs in every document before the page's own scripts: time that only moves when it is told to, chance with a seed, and
// a note of what the page listens to. `NAME` is replaced by a name of the visit. The page can find the object under it,
// but change nothing there; what the evaluator reads of the page it reads in a world of its own (controls.js).
// Not covered: workers, and the time of frames inside the page, which stands still.
(() => {
  "use strict";
  const EPOCH = Date.UTC(2026, 0, 1, 8);
  const FRAME = 1000 / 60;
  const MOST_CALLS = 50_000; // of timers, in one advance: more is a page that never comes to rest
  const FREE_READS = 1000; // of the clock in one callback; each further one takes a little, or a loop that waits would never end
  const READ = 0.05;
  const LONG = 200; // an advance after which the page is looked at
  let now = 0, frame = 0, order = 0, reads = 0;
  const timers = new Map(); // id → { at, order, every, run }

  const report = window.reportError.bind(window);
  const realFrame = window.requestAnimationFrame.bind(window);
  const Later = Promise;
  const animations = Document.prototype.getAnimations;
  const Timeline = DocumentTimeline;

  const read = () => {
    if (++reads > FREE_READS) now += READ;
    return now;
  };
  const call = (run) => { reads = 0; try { run(); } catch (error) { report(error); } };
  const add = (at, run, every = null) => { timers.set(++order, { at, order, every, run }); return order; };
  const code = (what, args) => (typeof what === "function" ? () => what(...args) : () => (0, eval)(String(what)));
  const wait = (delay) => Math.max(1, Number(delay) || 0);
  const cancel = (id) => void timers.delete(Number(id));
  window.setTimeout = (what, delay, ...args) => add(now + wait(delay), code(what, args));
  window.setInterval = (what, delay, ...args) => add(now + wait(delay), code(what, args), wait(delay));
  window.requestAnimationFrame = (what) => add((Math.floor(now / FRAME + 1e-6) + 1) * FRAME, () => what(now));
  window.requestIdleCallback = (what) => add(now + 1, () => what({ didTimeout: false, timeRemaining: () => 10 }));
  window.clearTimeout = window.clearInterval = window.cancelAnimationFrame = window.cancelIdleCallback = cancel;

  window.Date = new Proxy(Date, {
    construct: (real, args, as) => Reflect.construct(real, args.length ? args : [EPOCH + read()], as),
    apply: (real) => new real(EPOCH + read()).toString(),
    get: (real, key) => (key === "now" ? () => Math.floor(EPOCH + read()) : Reflect.get(real, key)),
  });
  Performance.prototype.now = read;
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

  // Scrolling that glides does so in real time: here it is done at once.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("* { scroll-behavior: auto !important }");
  document.adoptedStyleSheets = [sheet];
  for (const [owner, name] of [[window, "scrollTo"], [window, "scrollBy"], [window, "scroll"], [Element.prototype, "scrollTo"],
    [Element.prototype, "scrollBy"], [Element.prototype, "scroll"], [Element.prototype, "scrollIntoView"]]) {
    const real = owner[name];
    owner[name] = function (...args) {
      if (args[0] && typeof args[0] === "object") args[0] = { ...args[0], behavior: "instant" };
      return real.apply(this, args);
    };
  }

  // Promises and messages that a timer has set off are done before the next timer.
  const { port1, port2 } = new MessageChannel();
  let done = null;
  port1.onmessage = () => done?.();
  const settle = () => new Later((resolve) => { done = resolve; port2.postMessage(0); });
  const drawn = () => new Later((resolve) => { realFrame(resolve); }).then(settle); // observers see what has changed

  const animate = (by) => { // the animations' own clock stands still
    for (const animation of animations.call(document)) {
      if (animation.playState !== "running" || !(animation.timeline instanceof Timeline)) continue;
      animation.currentTime = Number(animation.currentTime ?? 0) + by * animation.playbackRate;
    }
  };

  // By whole frames, so that how it is cut into steps makes no difference.
  async function advance(milliseconds) {
    const end = frame + Math.round(milliseconds / FRAME);
    let calls = 0;
    reads = 0;
    await settle();
    for (; frame < end; ) {
      const limit = ((frame + 1) * 1000) / 60;
      for (;;) {
        let next = null;
        for (const timer of timers.values()) {
          if (timer.at <= limit + 1e-6 && (next === null || timer.at < next.at || (timer.at === next.at && timer.order < next.order))) next = timer;
        }
        if (next === null) break;
        if (++calls > MOST_CALLS) return false;
        now = Math.max(now, next.at);
        timers.delete(next.order);
        if (next.every !== null) timers.set(next.order, { ...next, at: next.at + next.every });
        call(next.run);
        await settle();
      }
      now = Math.max(now, limit);
      frame++;
      animate(FRAME);
    }
    if (milliseconds >= LONG) await drawn();
    return true;
  }

  // What the page listens to, and what it does that is not to be seen.
  const SINGLE = /^(click|mousedown|mouseup|pointerdown|pointerup)$/;
  const KEYS = /^(keydown|keyup|keypress)$/;
  const pointed = new WeakSet(), doubled = new WeakSet();
  const hasPointed = WeakSet.prototype.has.bind(pointed), hasDoubled = WeakSet.prototype.has.bind(doubled);
  const addPointed = WeakSet.prototype.add.bind(pointed), addDoubled = WeakSet.prototype.add.bind(doubled);
  let keys = false, effects = 0, refused = 0;
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (kind, ...rest) {
    if (SINGLE.test(kind)) addPointed(this ?? window);
    if (kind === "dblclick") addDoubled(this ?? window);
    if (KEYS.test(kind)) keys = true;
    return listen.call(this, kind, ...rest);
  };
  const HANDLERS = ["onclick", "onmousedown", "onmouseup", "onpointerdown", "onpointerup"];
  const single = (target) => hasPointed(target) || HANDLERS.some((name) => target[name]);
  const double = (target) => hasDoubled(target) || Boolean(target.ondblclick);
  const takesKeys = () => keys || [window, document, document.body].some((t) => t && (t.onkeydown || t.onkeyup || t.onkeypress));
  // The other world asks by an event that nobody knows: "taken" is the answer yes.
  const prevent = Event.prototype.preventDefault;
  listen.call(window, "NAME-single", (event) => { if (single(event.target)) prevent.call(event); }, true);
  listen.call(window, "NAME-double", (event) => { if (double(event.target)) prevent.call(event); }, true);
  listen.call(window, "invalid", () => { refused++; }, true); // a form that tells what is missing in a way that no picture shows

  const count = (owner, name, instead) => {
    const real = owner?.[name];
    if (typeof real === "function") owner[name] = function (...args) { effects++; return instead ? instead() : real.apply(this, args); };
  };
  const agreed = () => Later.resolve(); // what a browser without a window would refuse
  count(window.Clipboard?.prototype, "writeText", agreed);
  count(window.Clipboard?.prototype, "write", agreed);
  count(window.Navigator.prototype, "share", agreed);
  count(Element.prototype, "requestFullscreen", agreed);
  count(Element.prototype, "requestPointerLock", agreed);
  count(Document.prototype, "execCommand");
  count(window, "print", () => undefined);
  count(HTMLMediaElement.prototype, "play");
  count(window.AudioScheduledSourceNode?.prototype, "start");
  count(window.AudioBufferSourceNode?.prototype, "start");
  count(window.SpeechSynthesis?.prototype, "speak");

  Object.defineProperty(window, "NAME", {
    value: Object.freeze({ advance, drawn, takesKeys: () => Boolean(takesKeys()), told: () => [effects, refused] }),
  });
})();
