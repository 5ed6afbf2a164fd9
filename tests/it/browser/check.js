// check.js CHROMIUM URL DIRECTORY: looks at the status page as people do, and prints what is wrong with it.
// Chromium is spoken to over a pipe, so that no driver is needed. The pictures go into DIRECTORY.
"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const [chromium, url, directory] = process.argv.slice(2);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const looks = [
  { name: "phone-light-en", width: 360, scheme: "light", query: "lang=en" },
  { name: "phone-dark-es", width: 360, scheme: "dark", query: "lang=es&search=s1" },
  { name: "desk-light-es", width: 1280, scheme: "light", query: "lang=es" },
  { name: "desk-dark-en", width: 1280, scheme: "dark", query: "lang=en&state=not_well" },
];

const profile = fs.mkdtempSync(path.join(directory, "profile-"));
const browser = spawn(chromium, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
  `--user-data-dir=${profile}`, "--remote-debugging-pipe", "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const waiting = new Map();
let last = 0, text = "";
browser.stdio[4].on("data", (data) => {
  const parts = (text + data).split("\0");
  text = parts.pop();
  for (const { id, result, error } of parts.map(JSON.parse)) {
    const [done, fail] = waiting.get(id) || [];
    if (done) (error ? fail(new Error(error.message)) : done(result));
  }
});
const send = (method, params = {}, sessionId) => new Promise((done, fail) => {
  waiting.set(++last, [done, fail]);
  browser.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
});

(async () => {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  };
  const until = async (what, expression) => {
    const end = Date.now() + 20000;
    while (!(await evaluate(expression).catch(() => false))) {
      if (Date.now() > end) throw new Error(`in vain: ${what}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  };
  await call("Page.enable");
  const wrong = [];
  for (const { name, width, scheme, query } of looks) {
    await call("Emulation.setDeviceMetricsOverride", { width, height: 800, deviceScaleFactor: 1, mobile: width < 600 });
    await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    await call("Page.navigate", { url: `${url}/?${query}` });
    await until("the page is there", `location.search.includes(${JSON.stringify(query)}) && document.readyState === "complete"`);
    await until("the script tells times", `!/UTC$/.test(document.querySelector("time").textContent)`);
    const overflow = await evaluate("document.documentElement.scrollWidth - innerWidth");
    if (overflow > 0) wrong.push(`${name}: ${overflow} px too wide`);
    await evaluate(axe);
    const violations = await evaluate("axe.run().then((r) => r.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).slice(0, 3).join(' ')}`))");
    wrong.push(...violations.map((violation) => `${name}: ${violation}`));
    const { data } = await call("Page.captureScreenshot", { captureBeyondViewport: true, format: "png" });
    fs.writeFileSync(path.join(directory, `${name}.png`), Buffer.from(data, "base64"));
  }
  // The search answers without a new page, and what was typed keeps the focus.
  await call("Page.navigate", { url: `${url}/?lang=en` });
  await until("the form is there", `location.search === "?lang=en" && document.readyState === "complete"`);
  await evaluate(`window.same = true; document.getElementById("search").focus()`);
  await call("Input.insertText", { text: "s4711" });
  await until("the shop is found", `document.querySelector("#found tbody th")?.textContent === "s4711"`);
  if (!await evaluate(`window.same && document.activeElement.id === "search"`)) wrong.push("the search loads the page anew");
  // An order that comes in pushes the others down, and what was selected stays the same.
  const newest = `document.querySelector("#recent li")`;
  await evaluate(`window.row = ${newest}; window.key = row.dataset.key; getSelection().selectAllChildren(row.querySelector("strong"))`);
  await until("an order comes in", `${newest} !== row`);
  const same = `row.isConnected && row.dataset.key === key && getSelection().toString() === row.querySelector("strong").textContent`;
  if (!await evaluate(same)) wrong.push("an order becomes another under whoever selects it");
  const rows = await evaluate(`document.querySelectorAll("#recent li").length`);
  if (rows !== 50) wrong.push(`${rows} orders are shown`);
  console.log(JSON.stringify(wrong));
})().then(() => 0, (error) => { console.error(error); return 1; }).then((code) => {
  browser.on("exit", () => process.exit(code));
  browser.kill();
});
