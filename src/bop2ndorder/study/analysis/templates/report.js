// Tables are sorted by a click on a heading; what is too wide says so; the contents say where one is.
const number = text => {
  const found = text.replace(/−/g, "-").replace(/,/g, "").match(/^[^\d-]{0,2}(-?\d+(\.\d+)?(e-?\d+)?)/);
  return found ? Number(found[1]) : NaN;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || a.localeCompare(b, "en", {numeric: true});
  return x - y;
};
for (const table of document.querySelectorAll(".sortable table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const cell = row => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(cell(a), cell(b)));
      table.tBodies[0].append(...(down ? rows.reverse() : rows));
    };
    head.tabIndex = 0;
    head.title = "sort";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => event.key === "Enter" && sort());
  });
}
const wide = new ResizeObserver(entries => {
  for (const {target} of entries) target.parentElement.classList.toggle("wide", target.scrollWidth > target.clientWidth + 1);
});
document.querySelectorAll(".scroll").forEach(box => wide.observe(box));
const links = new Map([...document.querySelectorAll("#contents a")].map(a => [a.hash.slice(1), a]));
const mark = () => {
  let here = null;
  for (const id of links.keys()) {
    if (document.getElementById(id).getBoundingClientRect().top < innerHeight / 3) here = id;
  }
  for (const [id, link] of links) {
    if (link.classList.toggle("here", id === here) && link.parentElement.scrollWidth > innerWidth) {
      link.parentElement.scrollLeft = link.offsetLeft - 40;
    }
  }
};
addEventListener("scroll", mark, {passive: true});
mark();
// A link into a folded part opens it, and paper has nothing to unfold.
const unfold = () => {
  for (let part = document.getElementById(decodeURIComponent(location.hash.slice(1))); part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
  }
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.long)").forEach(part => part.open = true));
