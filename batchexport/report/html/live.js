(() => {
  const everyMs = Number(document.currentScript.dataset.everyMs);
  const summaryOf = (details) => (details.querySelector("summary")?.textContent ?? "").replace(/[\d,]+/g, "#");

  function renew(name, fresh) {
    const shown = document.querySelector(`body > ${name}`);
    const next = fresh.querySelector(`body > ${name}`);
    if (!shown || !next) return;
    const open = new Set([...shown.querySelectorAll("details[open]")].map(summaryOf));
    for (const details of next.querySelectorAll("details")) {
      if (open.has(summaryOf(details))) details.open = true;
    }
    if (shown.outerHTML !== next.outerHTML) shown.replaceWith(document.adoptNode(next));
  }

  async function update() {
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(30000) });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      for (const name of ["header", "main", "footer"]) renew(name, fresh);
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
    setTimeout(update, everyMs);
  }

  setTimeout(update, everyMs);
})();
