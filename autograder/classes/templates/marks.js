// The table of marks: what is searched, sorted and shown is this one list; only a page of it is ever in the document.
const all = JSON.parse(document.getElementById("data").textContent);
const texts = all.map((row) => row.join(" ").toLowerCase());
const size = 100;
let shown = [], page = 0, column = -1, direction = 1;
const at = (id) => document.getElementById(id);

function choose() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean), status = at("status").value;
  shown = [...all.keys()].filter((i) =>
    (!status || all[i][2] === status) && words.every((word) => texts[i].includes(word)));
  if (column >= 0) shown.sort((a, b) => direction * compare(all[a][column], all[b][column]));
  page = 0;
  draw();
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function draw() {
  const last = Math.max(0, Math.ceil(shown.length / size) - 1);
  page = Math.min(Math.max(0, page), last);
  const body = document.createDocumentFragment();
  for (const i of shown.slice(page * size, (page + 1) * size)) {
    const line = document.createElement("tr");
    for (const value of all[i]) {
      const cell = document.createElement("td");
      cell.textContent = value;
      if (typeof value === "number") cell.className = "n";
      line.append(cell);
    }
    body.append(line);
  }
  at("rows").replaceChildren(body);
  at("where").textContent = `${shown.length} shown, page ${page + 1} of ${last + 1}`;
  at("back").disabled = page === 0;
  at("next").disabled = page === last;
}

for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => {
    const chosen = Number(button.dataset.column);
    direction = chosen === column ? -direction : 1;
    column = chosen;
    for (const head of document.querySelectorAll("th")) head.setAttribute("aria-sort", "none");
    button.parentElement.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    choose();
  });
at("search").addEventListener("input", choose);
at("status").addEventListener("change", choose);
at("back").addEventListener("click", () => { page -= 1; draw(); });
at("next").addEventListener("click", () => { page += 1; draw(); });
choose();
