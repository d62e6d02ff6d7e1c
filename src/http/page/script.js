// The only script of the page. Everything works without it, except for copying and for progress bars.

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
      say(done + ": " + button.dataset.copy);
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

offerCopies(document);
