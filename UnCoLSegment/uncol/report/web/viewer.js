// The viewer's controls. All texts of others are set as text, never as markup; nothing is fetched.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const fail = (reason) => {
    if (byId("uv").dataset.state !== "loading") return;
    byId("uv-loading").textContent = `The page could not be opened (${reason}). Make it again with uncol view.`;
    byId("uv").dataset.state = "failed";
  };
  addEventListener("error", (event) => fail(event.message));
  addEventListener("unhandledrejection", (event) => fail(event.reason?.message ?? event.reason));
  const data = JSON.parse(byId("uncol-data").textContent);
  const root = byId("uv");
  const state = { place: -1, verdict: null, showsAll: false };
  let view;

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (name === "style") for (const [property, text] of Object.entries(value)) made.style.setProperty(property, text);
      else if (value !== null && value !== false) made.setAttribute(name, value);
    }
    made.append(...children.filter((each) => each !== null));
    return made;
  };
  const number = (value, digits = 0) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const ml = (value) => number(value, value >= 100 ? 0 : value >= 1 ? 1 : 2);

  // ---- light and dark ---------------------------------------------------------------------------------------------
  const prefersLight = matchMedia("(prefers-color-scheme: light)");
  const theme = () => (root.dataset.theme = prefersLight.matches ? "light" : "dark");
  prefersLight.addEventListener("change", theme);
  theme();
  byId("uv-theme").onclick = () => (root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light");

  // ---- words ------------------------------------------------------------------------------------------------------
  byId("uv-title").textContent = data.title;
  byId("uv-subtitle").textContent = data.subtitle;
  byId("uv-research").textContent = data.disclaimer;
  byId("uv-trust").textContent = data.trust;
  byId("uv-notes").append(...data.notes.map((each) => make("li", {}, each)));
  byId("uv-facts").append(...data.facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const keys = {
    "N, Shift N": "next, previous place to look", "U": "doubt: places, heat, off", "S": "filled or contour",
    "C (hold)": "compare", "E": "errors, where there is a reference", "H (hold)": "the image alone",
    "↑ ↓": "next, previous slice", "1 2 3 4 5": "all planes, axial, coronal, sagittal, 3D", "?": "these keys",
  };
  if (!data.compare.some((each) => each.id !== "reference") && !data.hasReference) delete keys["C (hold)"];
  if (!data.hasReference) delete keys["E"];
  byId("uv-keys").append(...Object.entries(keys).flatMap(([key, text]) => [
    make("dt", {}, ...key.split(", ").flatMap((each) => [make("kbd", {}, each), " "])), make("dd", {}, text)]));

  // ---- structures -------------------------------------------------------------------------------------------------
  byId("uv-structures").append(...data.structures.map((each) => {
    const eye = make("button", { "aria-pressed": "true", "aria-label": `Show ${each.name}`, title: "Show or hide", style: { "--swatch": each.color },
      on: { click: () => {
        const { off } = view.look;
        if (!off.delete(each.value)) off.add(each.value);
        eye.setAttribute("aria-pressed", String(!off.has(each.value)));
        view.set({});
      } } });
    const more = [each.range ? `${each.isPromised ? "between" : "sure"} ${ml(each.range[0])} ${each.isPromised ? "and" : "ml, possible"} ${ml(each.range[1])} ml` : null,
                  each.predicted ? `expected Dice ${each.predicted}` : null,
                  each.dice !== null ? `Dice ${number(each.dice, 3)} on held-out slices` : null,
                  each.scored ? each.scored : null].filter(Boolean).join(" · ");
    const size = each.ml === null ? null : make("span", { class: "ml" }, ml(each.ml), " ", make("small", {}, "ml"));
    return make("li", {}, eye, make("span", { class: "name" }, each.name), size, more ? make("span", { class: "more" }, more) : null);
  }));

  // ---- places to look ---------------------------------------------------------------------------------------------
  const FIRST = 6;
  byId("uv-no-places").hidden = data.places.length > 0;
  const worst = Math.max(0.01, ...data.places.map((each) => each.ml * each.doubt));
  const items = data.places.map((each, index) => {
    const note = make("input", { type: "text", placeholder: "Note", "aria-label": `Note on place ${each.number}`, maxlength: "500",
      on: { input: () => (each.note = note.value) } });
    const seen = make("input", { type: "checkbox", on: { change: () => {
      each.seen = seen.checked;
      tell();
      view.paint();
    } } });
    const item = make("li", {},
      make("button", { class: "go", on: { click: () => visit(index) } },
        make("span", { class: "number" }, make("span", {}, String(each.number))),
        make("span", {}, `Slice ${each.slice} · ${ml(each.ml)} ml`, make("small", {}, each.text)),
        make("span", { class: "shown" }, make("span", { class: "meter", title: `mean doubt ${number(each.doubt, 2)}` },
          make("i", { style: { width: `${Math.max(6, (100 * each.ml * each.doubt) / worst)}%` } })))),
      make("div", { class: "about" }, make("label", { class: "uv-soft" }, seen, " seen"), note));
    each.mark = () => (seen.checked = true);
    return item;
  });
  byId("uv-places").append(...items);
  const allPlaces = byId("uv-all-places");
  allPlaces.textContent = `All ${items.length} places`;
  allPlaces.onclick = () => {
    state.showsAll = true;
    tell();
  };

  function visit(index) {
    const count = data.places.length;
    if (!count) return;
    const left = data.places[state.place];
    if (left) {
      left.seen = true;
      left.mark();
    }
    state.place = (index + count) % count;
    if (state.place >= FIRST) state.showsAll = true;
    view.goTo(data.places[state.place].at.map(Math.round));
    tell();
    // Its list is scrolled, and never the page round it: that may just be read.
    const list = root.querySelector(".uv-side"), frame = list.getBoundingClientRect(), box = items[state.place].getBoundingClientRect();
    if (box.top < frame.top) list.scrollTop -= frame.top - box.top;
    else if (box.bottom > frame.bottom) list.scrollTop += box.bottom - frame.bottom;
  }

  function tell() {
    items.forEach((item, index) => {
      const each = data.places[index];
      each.current = index === state.place;
      item.hidden = index >= FIRST && !state.showsAll;
      item.classList.toggle("current", each.current);
      item.classList.toggle("seen", Boolean(each.seen) && !each.current);
    });
    allPlaces.hidden = state.showsAll || items.length <= FIRST;
    view?.paint();
  }

  // ---- slices -----------------------------------------------------------------------------------------------------
  const ruler = data.ruler, svg = byId("uv-ruler"), count = ruler.doubt.length;
  const pageOf = (slice) => {
    const place = Math.round((slice - ruler.start) / ruler.step), size = view.dims[ruler.axis];
    return ruler.flip ? size - 1 - place : place;
  };
  const sliceOf = (page) => ruler.start + ruler.step * (ruler.flip ? view.dims[ruler.axis] - 1 - page : page);
  const svgMake = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  function drawRuler() {
    const height = 62, most = Math.max(0.001, ...ruler.doubt.map((each) => each ?? 0));
    svg.setAttribute("viewBox", `0 0 ${count} ${height}`);
    const levels = [...ruler.doubt].filter((each) => each).sort((a, b) => a - b), high = levels[Math.floor(levels.length * 0.8)] ?? 1;
    const marks = [];
    ruler.doubt.forEach((each, slice) => {
      const bar = each ? Math.max(1, (each / most) * (height - 16)) : 0;
      if (bar) marks.push(svgMake("rect", { class: each >= high ? "much" : "doubt", x: slice + 0.1, width: 0.8, y: height - 12 - bar, height: bar }));
    });
    for (const slice of ruler.annotated) marks.push(svgMake("rect", { class: "done", x: slice + 0.1, width: 0.8, y: height - 9, height: 7 }));
    for (const { slice } of ruler.next.slice(0, 1)) marks.push(svgMake("path", { class: "next", d: `M${slice} 0h1l-.5 7z` }));
    if (ruler.dice) {
      const line = ruler.dice.map((each, slice) => (each === null ? null : `${slice + 0.5},${4 + (1 - each) * (height - 20)}`)).filter(Boolean);
      marks.push(svgMake("polyline", { points: line.join(" ") }));
    }
    marks.push(svgMake("rect", { class: "here", y: 0, height, width: 1, x: 0 }));
    svg.replaceChildren(...marks);
    svg.setAttribute("aria-valuemin", "0");
    svg.setAttribute("aria-valuemax", String(count - 1));
    const legend = [["uv-bar", "most doubt"], ruler.annotated.length ? ["uv-done", "annotated"] : null,
                    ruler.next.length ? ["uv-next", "annotate next"] : null, ruler.dice ? ["uv-line", "Dice, up is better"] : null];
    byId("uv-ruler-legend").replaceChildren(...legend.filter(Boolean).map(([kind, text]) => make("span", {}, make("i", { class: `uv-dot ${kind}` }), ` ${text}`)));
  }
  const goToSlice = (slice) => {
    const voxel = view.voxel;
    voxel[ruler.axis] = pageOf(Math.min(count - 1, Math.max(0, slice)));
    view.goTo(voxel);
  };
  const drag = (event) => {
    if (!event.buttons && event.type !== "pointerdown") return;
    const box = svg.getBoundingClientRect();
    goToSlice(Math.floor(((event.clientX - box.left) / box.width) * count));
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    drag(event);
  });
  svg.addEventListener("pointermove", drag);

  function drawPlaces() {
    items.forEach((item, index) => {
      const at = data.places[index].at.map(Math.round);
      item.querySelector(".shown").prepend(view.thumbnail(ruler.axis, at[ruler.axis], at));
    });
  }
  function drawFollowing() {
    byId("uv-following").hidden = !ruler.next.length;
    byId("uv-next").append(...ruler.next.map(({ slice, text }) => {
      const picture = view.thumbnail(ruler.axis, pageOf(slice));
      return make("li", {}, make("button", { on: { click: () => goToSlice(slice) } }, picture, make("span", {}, text)));
    }));
  }

  // ---- what is under the cursor -----------------------------------------------------------------------------------
  const names = new Map(data.structures.map((each) => [each.value, each.name]));
  function onMove(place) {
    const [r, a, s] = place.mm, slice = sliceOf(view.voxel[ruler.axis]);
    const side = (value, plus, minus) => `${value >= 0 ? plus : minus} ${number(Math.abs(value), 1)}`;
    const grey = Number.isInteger(place.grey) ? number(place.grey) : number(place.grey, 2);
    byId("uv-here").textContent = [`${side(r, "R", "L")}  ${side(a, "A", "P")}  ${side(s, "S", "I")} mm`,
      `${grey}${data.picture.unit ? " " + data.picture.unit : ""}`, names.get(place.label) ?? "background", `doubt ${number(place.doubt, 2)}`].join(" · ");
    byId("uv-window").textContent = `W ${number(view.image.cal_max - view.image.cal_min)}  L ${number((view.image.cal_max + view.image.cal_min) / 2)}`;
    root.dataset.voxel = place.voxel.join(",");
    const dice = ruler.dice?.[slice], doubt = ruler.doubt[slice];
    byId("uv-ruler-text").textContent = [`${ruler.plane} slice ${slice} of ${count}`,
      ruler.annotated.includes(slice) ? "annotated" : doubt ? `doubt ${number(doubt, 2)}` : null,
      dice !== null && dice !== undefined ? `Dice ${number(dice, 2)}` : null].filter(Boolean).join(" · ");
    svg.querySelector(".here")?.setAttribute("x", slice);
    svg.setAttribute("aria-valuenow", String(slice));
  }

  // ---- switches ---------------------------------------------------------------------------------------------------
  const choose = (group, name, value) => {
    for (const each of byId(group).querySelectorAll("button")) each.setAttribute("aria-checked", String(each.dataset[name] === value));
  };
  const onChoice = (group, name, act) => byId(group).addEventListener("click", (event) => {
    const value = event.target.closest("button")?.dataset[name];
    if (value !== undefined) act(value);
  });
  const actions = {
    doubt(value) {
      choose("uv-doubt", "doubt", value);
      root.dataset.doubt = value;
      view.set({ doubt: value });
    },
    fill(value) {
      choose("uv-fill", "fill", value);
      view.set({ fill: Boolean(value) });
    },
    compare(value) {
      choose("uv-compare", "compare", value);
      const found = data.compare.find((each) => each.id === value);
      byId("uv-banner").hidden = !found;
      byId("uv-banner").textContent = found ? found.name : "";
      view.set({ compare: found ? value : null });
    },
    errors(value) {
      if (!data.hasReference) return;
      byId("uv-errors-button").setAttribute("aria-pressed", String(value));
      view.set({ errors: value });
    },
    layout(value) {
      choose("uv-layout", "layout", value);
      view.setLayout(value);
    },
  };
  for (const name of ["doubt", "fill", "compare", "layout"]) onChoice(`uv-${name}`, name, actions[name]);
  byId("uv-errors-button").onclick = () => actions.errors(!view.look.errors);
  byId("uv-from").value = data.unsureFrom;
  byId("uv-from-text").textContent = number(data.unsureFrom, 2);
  byId("uv-from").oninput = (event) => {
    byId("uv-from-text").textContent = number(Number(event.target.value), 2);
    view.setFrom(Number(event.target.value));
  };
  byId("uv-windows").append(...data.picture.windows.map(({ name, low, high }) => make("button", { on: { click: () => view.setWindow(low, high) } }, name)));
  if (data.compare.length) {
    byId("uv-compare").append(make("button", { "data-compare": "", role: "radio", "aria-checked": "true" }, "Result"),
      ...data.compare.map((each) => make("button", { "data-compare": each.id, role: "radio", "aria-checked": "false" }, each.name)));
    byId("uv-compare").hidden = byId("uv-compare-name").hidden = false;
  }
  byId("uv-errors").hidden = byId("uv-errors-name").hidden = !data.hasReference;

  // ---- keys -------------------------------------------------------------------------------------------------------
  const LAYOUTS = ["all", "axial", "coronal", "sagittal", "3d"], DOUBTS = ["regions", "heat", "off"];
  const isTyping = (event) => event.target.matches?.("input[type=text], textarea") || event.ctrlKey || event.metaKey || event.altKey;
  const onKey = {
    n: (event) => visit(event.shiftKey ? state.place - 1 : state.place + 1),
    u: () => actions.doubt(DOUBTS[(DOUBTS.indexOf(view.look.doubt) + 1) % 3]),
    s: () => actions.fill(view.look.fill ? "" : "1"),
    e: () => actions.errors(!view.look.errors),
    c: () => data.compare.length && actions.compare(data.compare[0].id),
    h: () => view.set({ hidden: true }),
    "?": () => byId("uv-help").showModal(),
    arrowup: () => goToSlice(sliceOf(view.voxel[ruler.axis]) + (ruler.flip ? -1 : 1) * ruler.step),
    arrowdown: () => goToSlice(sliceOf(view.voxel[ruler.axis]) - (ruler.flip ? -1 : 1) * ruler.step),
  };
  LAYOUTS.forEach((each, index) => (onKey[String(index + 1)] = () => actions.layout(each)));
  document.addEventListener("keydown", (event) => {
    const act = onKey[event.key.toLowerCase()];
    const isInView = root.contains(document.activeElement) || document.activeElement === document.body;
    if (!act || !view || isTyping(event) || byId("uv-help").open || !isInView) return;
    if (event.key.startsWith("Arrow") && document.activeElement?.matches?.("input")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!event.repeat || event.key.startsWith("Arrow")) act(event);
  }, true);
  document.addEventListener("keyup", (event) => {
    if (!view || isTyping(event)) return;
    if (event.key.toLowerCase() === "c") actions.compare("");
    if (event.key.toLowerCase() === "h") view.set({ hidden: false });
  }, true);
  byId("uv-help-button").onclick = () => byId("uv-help").showModal();

  // ---- verdict and files ------------------------------------------------------------------------------------------
  const save = (content, name, type) => {
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  onChoice("uv-verdict", "verdict", (value) => {
    state.verdict = value;
    choose("uv-verdict", "verdict", value);
    byId("uv-saved").textContent = "";
  });
  byId("uv-save").onclick = async () => {
    if (!state.verdict) {
      byId("uv-saved").textContent = "Choose one of the three first.";
      return;
    }
    const verdict = {
      uncol: data.version, made: new Date().toISOString(), image_sha256: data.imageSha256, files: data.files, verdict: state.verdict,
      comment: byId("uv-comment").value,
      places: data.places.map((each) => ({ number: each.number, slice: each.slice, ml: each.ml, doubt: each.doubt, seen: Boolean(each.seen), note: each.note ?? "" })),
    };
    const told = JSON.stringify(verdict, null, 2) + "\n";
    if (data.saveTo) {
      const answer = await fetch(data.saveTo, { method: "POST", body: told, headers: { "Content-Type": "application/json" } }).catch(() => null);
      const reason = answer && !answer.ok ? await answer.text() : "";
      byId("uv-saved").textContent = answer?.ok ? "Saved beside the result." : `Not saved: ${reason || "is uncol view still running?"}`;
    } else {
      save(told, "verdict.json", "application/json");
      byId("uv-saved").textContent = "Saved as verdict.json.";
    }
  };
  byId("uv-png").onclick = () => {
    const slice = sliceOf(view.voxel[ruler.axis]);
    const caption = `${data.title} · ${ruler.plane} slice ${slice} · ${data.disclaimer}`;
    view.picture(caption).toBlob((blob) => save(blob, `view-slice-${slice}.png`, "image/png"));
  };
  byId("uv-stl").onclick = () => {
    const plain = (name) => name.normalize("NFKD").replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "") || "structure";
    view.surfaces.filter((each) => each.triangles.length && !view.look.off.has(each.value)).forEach((each, index) =>
      setTimeout(() => save(uncolGeometry.stl(each.points, each.triangles, each.name), `${plain(each.name)}.stl`, "model/stl"), 200 * index));
  };

  // ---- start ------------------------------------------------------------------------------------------------------
  try {
    view = await uncolPlanes.open(data, (place) => view && onMove(place));
  } catch (error) {
    byId("uv-loading").textContent = `The pictures cannot be shown: this browser gives no WebGL 2 (${error.message}). Try another browser.`;
    root.dataset.state = "failed";
    return;
  }
  root.dataset.doubt = "regions";
  drawRuler();
  drawPlaces();
    drawFollowing();
  if (matchMedia("(max-width: 600px)").matches) actions.layout("axial");
  if (data.places.length) visit(0);
  else goToSlice(ruler.first);
  tell();
  window.uncolView = view;
  root.dataset.state = "planes";
  requestAnimationFrame(() => setTimeout(() => {
    view.build3d();
    root.dataset.state = "ready";
  }));
})();
