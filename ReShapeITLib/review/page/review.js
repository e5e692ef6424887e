"use strict";
(() => {
  const table = document.getElementById("cases");
  if (!table) return;
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[0].cells);
  const words = document.getElementById("words");
  const status = document.getElementById("status");
  const shown = document.getElementById("shown");

  // Numbers by their full value, texts by the user's alphabet; cells without a value come last either way.
  function compare(column, direction) {
    return (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      if ("value" in a.dataset) {
        const [x, y] = [a.dataset.value, b.dataset.value];
        if (x === "" || y === "") return (x === "") - (y === "");
        const [p, q] = [toNumber(x), toNumber(y)];
        return p === q ? 0 : direction * (p < q ? -1 : 1);
      }
      return direction * a.textContent.trim().localeCompare(b.textContent.trim(), undefined, { numeric: true });
    };
  }

  function toNumber(text) {
    return text === "inf" ? Infinity : Number(text);
  }

  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...Array.from(body.rows).sort(compare(column, ascending ? 1 : -1)));
    });
  });

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every((word) => text.includes(word)) && (!status.value || row.dataset.status === status.value));
      count += !row.hidden;
    }
    shown.textContent = count === body.rows.length ? "" : `${count} of ${body.rows.length} shown`;
  }
  words.addEventListener("input", filter);
  status.addEventListener("change", filter);
})();
