// Keeps the page up to date: the server sends sections as HTML, and only those that have changed.
"use strict";
(() => {
  const body = document.body, form = document.querySelector("form"), lost = document.getElementById("lost");
  const language = document.documentElement.lang;
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  let source, timer;

  // Changes what differs and leaves the rest, so that focus, selection and what is folded out stay. What has a key moves
  // with it: a new order pushes the others down, and none becomes another under whoever selects it.
  function morph(old, now) {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) return old.replaceWith(now);
    if (old.nodeType === Node.TEXT_NODE) { if (old.data !== now.data) old.data = now.data; return; }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...now.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    let next = old.firstChild;
    for (const child of [...now.childNodes]) {
      const here = next;
      if (!here || here.dataset?.key !== child.dataset?.key) { old.insertBefore(child, here); continue; }
      next = here.nextSibling;
      morph(here, child);
    }
    while (next) { const gone = next; next = gone.nextSibling; gone.remove(); }
  }

  function tell() {
    for (const time of document.querySelectorAll("time")) {
      const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000), size = Math.abs(seconds);
      const [unit, length] = size < 90 ? ["second", 1] : size < 5400 ? ["minute", 60] : size < 129600 ? ["hour", 3600] : ["day", 86400];
      const text = relative.format(Math.round(seconds / length), unit);
      if (time.textContent !== text) time.textContent = text;
      time.title = time.dateTime;
    }
  }

  function listen() {
    if (source) source.close();
    const wanted = new URLSearchParams(new FormData(form));
    source = new EventSource(`events?${wanted}`);
    source.onopen = () => { lost.hidden = true; };
    source.onerror = () => { lost.hidden = false; };
    source.onmessage = (event) => {
      const { title, sections } = JSON.parse(event.data);
      document.title = title;
      for (const [id, html] of Object.entries(sections)) {
        const old = document.getElementById(id), now = old.cloneNode(false);
        now.innerHTML = html;
        morph(old, now);
      }
      tell();
    };
  }

  function search(event) {
    event.preventDefault();
    clearTimeout(timer);
    timer = setTimeout(() => {
      history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
      listen();
    }, event.type === "submit" ? 0 : 250);
  }

  form.addEventListener("submit", search);
  form.addEventListener("input", search);
  tell();
  setInterval(tell, 1000);
  listen();
})();
