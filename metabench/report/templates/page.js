"use strict";
const search = document.getElementById("search");
search.parentElement.hidden = false;
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const table of document.querySelectorAll("main table")) {
    const about = table.closest("section").querySelector("h3").textContent.toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = about + " " + row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    table.closest("section").hidden = shown === 0;
  }
  for (const part of document.querySelectorAll("details.part")) {
    if (words.length) part.open = true;
  }
});
function value(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace("−", "-"));
  return [text === "" ? 2 : Number.isNaN(number) ? 1 : 0, number || 0, text];
}
for (const head of document.querySelectorAll("main thead th")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    const rows = Array.from(body.rows).sort((a, b) => {
      const [x, y] = [value(a, head.cellIndex), value(b, head.cellIndex)];
      return x[0] - y[0] || (down ? -1 : 1) * (x[0] ? x[2].localeCompare(y[2]) : x[1] - y[1]);
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  });
}
