// The only script of the page. Everything works without it, except for copying, for progress bars, and for notices that
// follow what happens.

"use strict";

// Says something to people who use a screen reader.
function say(text) {
  const status = document.getElementById("status");
  if (status) {
    status.textContent = "";
    setTimeout(() => { status.textContent = text; }, 50);
  }
}

// <button data-copy="text" hidden>: copies the text.
function offerCopies(root) {
  for (const button of root.querySelectorAll("button[data-copy]")) {
    const label = button.textContent;
    let timer;
    button.hidden = false;
    button.addEventListener("click", async () => {
      let done = "Copied";
      try {
        await copy(button.dataset.copy);
      } catch {
        done = "Cannot copy";
      }
      button.textContent = done;
      // A secret is not for the ears of others.
      say("secret" in button.dataset ? done : done + ": " + button.dataset.copy);
      clearTimeout(timer);
      timer = setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
}

async function copy(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  // Without HTTPS there is no clipboard, except on the own machine.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) {
    throw new Error("cannot copy");
  }
}

// The form for many links: results appear as they come.
function watchBulk(form) {
  const part = (id) => document.getElementById(id);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    try {
      const response = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/x-ndjson" },
      });
      const type = response.headers.get("Content-Type") || "";
      if (!response.ok || !type.startsWith("application/x-ndjson")) {
        // The page of the server says what is wrong.
        form.submit();
        return;
      }
      await showResults(response, part);
      button.disabled = false;
    } catch {
      button.disabled = false;
      part("summary").textContent = "The connection broke off. Send the form again: links that were made stay.";
      part("results").hidden = false;
      part("progress").hidden = true;
      say(part("summary").textContent);
    }
  });
}

async function showResults(response, part) {
  const counts = { made: 0, there: 0, failed: 0 };
  const labels = { made: "made", there: "was there", failed: "failed" };
  const report = ["line,url,result,short_url,reason"];
  let total = 1;
  let done = 0;
  part("outcomes").replaceChildren();
  part("report").hidden = true;
  part("results").hidden = false;
  part("progress").hidden = false;
  part("summary").textContent = "";
  part("results-title").focus();
  for await (const line of linesOf(response.body)) {
    const result = JSON.parse(line);
    if ("total" in result) {
      total = result.total;
      part("bar").max = total;
      continue;
    }
    done += 1;
    counts[result.kind] += 1;
    part("outcomes").append(rowOf(result, labels[result.kind]));
    const cells = [result.line, result.url, result.kind, result.short_url, result.detail];
    report.push(cells.map(cellOf).join(","));
    part("bar").value = done;
    part("bar-label").textContent = `Making links: ${done} of ${total}`;
  }
  part("progress").hidden = true;
  const text = `${counts.made} made, ${counts.there} were there already, ${counts.failed} failed.`;
  part("summary").textContent = text;
  part("report").href = URL.createObjectURL(new Blob([report.join("\r\n") + "\r\n"], { type: "text/csv" }));
  part("report").hidden = false;
  say(text);
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.filter((line) => line !== "");
  }
}

function rowOf(result, label) {
  const row = document.createElement("tr");
  const cell = (className, ...content) => {
    const cell = document.createElement("td");
    cell.className = className;
    cell.append(...content);
    row.append(cell);
  };
  const tag = document.createElement("span");
  tag.className = { made: "tag good", there: "tag", failed: "tag error" }[result.kind];
  tag.textContent = label;
  cell("number", String(result.line));
  cell("", tag);
  if (result.short_url) {
    const link = document.createElement("a");
    link.href = result.short_url;
    link.rel = "noopener";
    link.textContent = result.short_url;
    cell("breaks", link);
  } else {
    cell("breaks", result.detail);
  }
  cell("breaks", result.url);
  return row;
}

// As on the server: no spreadsheet takes a cell for a formula.
function cellOf(value) {
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text)) {
    text = "'" + text;
  }
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

// <div data-visible="path">: asks which servers have a change until all have it, for a minute.
async function watchServers(notice) {
  const text = notice.querySelector("p");
  for (let turn = 0; turn < 30; turn += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 2000); });
    try {
      const response = await fetch(notice.dataset.visible, { headers: { Accept: "application/json" } });
      if (!response.ok) {
        return;
      }
      const now = await response.json();
      if (text.textContent !== now.text) {
        text.textContent = now.text;
      }
      if (now.complete) {
        notice.className = "notice good";
        return;
      }
    } catch {
      // The next turn may succeed.
    }
  }
}

offerCopies(document);
const visible = document.querySelector("[data-visible]");
if (visible) {
  watchServers(visible);
}
const bulk = document.getElementById("bulk");
if (bulk) {
  watchBulk(bulk);
}
