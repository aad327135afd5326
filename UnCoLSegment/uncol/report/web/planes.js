// The pictures: three planes and the surfaces in 3D by NiiVue, and over the planes what the result says, drawn sharp.
"use strict";
const uncolPlanes = (() => {
  const { Niivue, NVImage, NVMesh, SLICE_TYPE, DRAG_MODE } = niivue;
  const AXES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]]; // by NiiVue's slice type: axes to the right and up, and across
  const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]]; // where an axis begins and ends
  const DOUBT = [255, 74, 170];

  const rgb = (color) => [1, 3, 5].map((n) => parseInt(color.slice(n, n + 2), 16));
  const text = (id) => document.getElementById(id)?.textContent.trim() || null;

  // The file of a volume, or its voxels: what Python wrote is a NIfTI file, whose voxels begin at byte 352.
  async function file(id) {
    const base64 = text(`uncol-volume-${id}`), letters = atob(base64), bytes = new Uint8Array(letters.length);
    for (let n = 0; n < letters.length; n++) bytes[n] = letters.charCodeAt(n);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  async function open(data, onMove) {
    const canvas = document.getElementById("uv-planes");
    const nv = new Niivue({
      dragAndDropEnabled: false, isColorbar: false, logLevel: "error", loadingText: "",
      clipPlaneHotKey: "", viewModeHotKey: "", cycleClipPlaneHotKey: "",
      isOrientationTextVisible: false, backColor: [0, 0, 0, 1], crosshairColor: [1, 0.86, 0.42, 0.55], crosshairWidth: 0.5,
      crosshairWidthUnit: "mm", crosshairGap: 6, fontColor: [0.72, 0.77, 0.83, 1], isRadiologicalConvention: true,
      dragMode: DRAG_MODE.windowing, fontMinPx: 12, isOrientCube: true, show3Dcrosshair: false, meshThicknessOn2D: 0,
    });
    nv.drawImage3D = () => {}; // 3D shows the surfaces; casting rays through the image takes seconds without a GPU
    const ids = ["labels", "uncertainty", "near", "places", ...data.compare.map((each) => each.id)];
    const [stored, ...others] = await Promise.all(["image", ...ids].map(file));
    const [low, high] = data.picture.window;
    const image = await NVImage.new(stored, "image.nii", "gray", 1, null, low, high);
    await nv.attachToCanvas(canvas, false);
    const parts = Object.fromEntries(ids.map((id, n) => [id, new Uint8Array(others[n], 352)]));
    const view = new Planes(nv, canvas, data, image, parts, onMove);
    view.files = { uncertainty: others[1] };
    view.start();
    return view;
  }

  class Planes {
    constructor(nv, canvas, data, image, parts, onMove) {
      Object.assign(this, { nv, canvas, data, image, parts, onMove });
      this.dims = image.hdr.dims.slice(1, 4);
      this.labels = parts.labels;
      this.doubt = parts.uncertainty; // stored as 0 to 255
      this.ink = document.getElementById("uv-ink");
      this.look = { doubt: "regions", fill: true, compare: null, errors: false, hidden: false, off: new Set(), from: data.unsureFrom };
      this.most = Math.min(1, 2 * data.unsureFrom); // torn between two classes
      this.cache = new Map();
      this.layout = "all";
    }

    start() {
      const { nv } = this;
      nv.addVolume(this.image);
      const draw = nv.drawScene.bind(nv);
      nv.drawScene = (...some) => {
        const drawn = draw(...some);
        if (!this.waiting) {
          this.waiting = true;
          requestAnimationFrame(() => {
            this.waiting = false;
            this.paint();
          });
        }
        return drawn;
      };
      nv.onLocationChange = () => this.onMove(this.here());
      nv.onIntensityChange = () => this.onMove(this.here());
      this.canvas.addEventListener("mousemove", (event) => this.hover(event));
      this.canvas.addEventListener("mouseleave", () => this.onMove(this.here()));
      new ResizeObserver(() => this.arrange()).observe(this.canvas.parentElement);
      this.arrange();
    }

    // The map of doubt as a volume of its own, near the structures; it is made when it is first looked at.
    async showHeat() {
      if (!this.heat) {
        this.nv.addColormap("uncol-doubt", { R: [DOUBT[0], DOUBT[0], 255], G: [DOUBT[1], DOUBT[1], 150],
                                             B: [DOUBT[2], DOUBT[2], 215], A: [0, 110, 225], I: [0, 128, 255] });
        this.heat = await NVImage.new(this.files.uncertainty.slice(0), "doubt.nii", "uncol-doubt", 1, null, this.look.from, this.most);
        this.heat.img.forEach((_, n) => {
          if (!this.parts.near[n]) this.heat.img[n] = 0;
        });
        this.nv.addVolume(this.heat);
      }
      this.heat.cal_min = this.look.from;
      this.heat.cal_max = this.most;
      this.heat.opacity = 1;
      this.nv.updateGLVolume();
    }

    // ---- where we are -------------------------------------------------------------------------------------------
    get voxel() {
      return this.dims.map((size, axis) => Math.min(size - 1, Math.max(0, Math.floor(this.nv.scene.crosshairPos[axis] * size))));
    }

    here() {
      return this.at(this.voxel);
    }

    at(voxel) {
      const n = (voxel[2] * this.dims[1] + voxel[1]) * this.dims[0] + voxel[0];
      const m = this.data.picture.matrix;
      return {
        voxel,
        mm: [0, 1, 2].map((row) => m[4 * row] * voxel[0] + m[4 * row + 1] * voxel[1] + m[4 * row + 2] * voxel[2] + m[4 * row + 3]),
        grey: this.image.img[n] * (this.image.hdr.scl_slope || 1) + (this.image.hdr.scl_inter || 0),
        label: this.labels[n],
        doubt: this.doubt[n] / 255,
      };
    }

    hover(event) {
      if (event.buttons) return;
      const box = this.canvas.getBoundingClientRect(), scale = this.canvas.width / box.width;
      const found = this.nv.canvasPos2frac([(event.clientX - box.left) * scale, (event.clientY - box.top) * scale]);
      if (found[0] < 0) return;
      this.onMove(this.at(this.dims.map((size, axis) => Math.min(size - 1, Math.max(0, Math.floor(found[axis] * size))))));
    }

    goTo(voxel) {
      this.nv.scene.crosshairPos = voxel.map((each, axis) => (Math.min(this.dims[axis] - 1, Math.max(0, each)) + 0.5) / this.dims[axis]);
      this.nv.createOnLocationChange?.();
      this.nv.drawScene();
      this.onMove(this.here());
    }

    step(axis, by) {
      const voxel = this.voxel;
      voxel[axis] += by;
      this.goTo(voxel);
    }

    // ---- what is shown ------------------------------------------------------------------------------------------
    arrange() {
      const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
      const arranged = [this.layout, width, height].join();
      if (!width || !height || arranged === this.arranged) return;
      this.arranged = arranged;
      if (this.layout === "all") {
        const tall = width < height * 0.8;
        this.nv.setCustomLayout(tall
          ? [{ sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 1, 0.55] }, { sliceType: SLICE_TYPE.CORONAL, position: [0, 0.55, 0.5, 0.45] },
             { sliceType: SLICE_TYPE.RENDER, position: [0.5, 0.55, 0.5, 0.45] }]
          : [{ sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.58, 1] }, { sliceType: SLICE_TYPE.CORONAL, position: [0.58, 0, 0.42, 0.34] },
             { sliceType: SLICE_TYPE.SAGITTAL, position: [0.58, 0.34, 0.42, 0.3] },
             { sliceType: SLICE_TYPE.RENDER, position: [0.58, 0.64, 0.42, 0.36] }]);
      } else this.nv.setCustomLayout([{ sliceType: SLICE_TYPE[this.layout === "3d" ? "RENDER" : this.layout.toUpperCase()], position: [0, 0, 1, 1] }]);
      this.nv.resizeListener();
    }

    setLayout(layout) {
      this.layout = layout;
      this.arrange();
    }

    set(change) {
      Object.assign(this.look, change);
      const isHeat = this.look.doubt === "heat" && !this.look.hidden && !this.look.errors;
      if (isHeat) this.showHeat();
      else if (this.heat?.opacity) {
        this.heat.opacity = 0;
        this.nv.updateGLVolume();
      } else this.paint();
      this.color3d();
    }

    setFrom(from) {
      this.look.from = from;
      this.set({});
    }

    setWindow(low, high) {
      this.image.cal_min = low;
      this.image.cal_max = high;
      this.nv.updateGLVolume();
      this.onMove(this.here());
    }

    // ---- the result over the planes -----------------------------------------------------------------------------
    slice(part, plane, index) {
      const name = `${part} ${plane} ${index}`;
      if (!this.cache.has(name)) {
        const [a, b, across] = AXES[plane], strides = [1, this.dims[0], this.dims[0] * this.dims[1]];
        const width = this.dims[a], height = this.dims[b], source = this.parts[part];
        const values = new Uint8Array(width * height);
        for (let y = 0, n = 0; y < height; y++) {
          let from = index * strides[across] + y * strides[b];
          for (let x = 0; x < width; x++, n++, from += strides[a]) values[n] = source[from];
        }
        if (this.cache.size > 400) this.cache.clear();
        this.cache.set(name, { values, width, height, lines: new Map() });
      }
      return this.cache.get(name);
    }

    // A small picture of a slice with what was found in it, the patient's right on the left as in the planes, and a
    // ring round a voxel.
    thumbnail(across, index, at = null) {
      const plane = AXES.findIndex((each) => each[2] === across), [a, b] = AXES[plane];
      const strides = [1, this.dims[0], this.dims[0] * this.dims[1]], width = this.dims[a], height = this.dims[b];
      const made = Object.assign(document.createElement("canvas"), { width, height }), pen = made.getContext("2d");
      const pixels = pen.createImageData(width, height), colors = new Map(this.data.structures.map((each) => [each.value, rgb(each.color)]));
      const { img, hdr, cal_min: low, cal_max: high } = this.image;
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const n = index * strides[across] + y * strides[b] + x * strides[a];
          const grey = (255 * (img[n] * (hdr.scl_slope || 1) + (hdr.scl_inter || 0) - low)) / (high - low), color = colors.get(this.labels[n]);
          const at = 4 * ((height - 1 - y) * width + (a === 0 ? width - 1 - x : x));
          pixels.data.set([0, 1, 2].map((c) => (color ? 0.6 * grey + 0.4 * color[c] : grey)), at);
          pixels.data[at + 3] = 255;
        }
      pen.putImageData(pixels, 0, 0);
      if (at) {
        pen.beginPath();
        pen.arc(a === 0 ? width - 1 - at[a] : at[a], height - 1 - at[b], width / 8, 0, 2 * Math.PI);
        pen.lineWidth = width / 28;
        pen.strokeStyle = `rgb(${DOUBT})`;
        pen.stroke();
      }
      const spacing = hdr.pixDims;
      made.style.aspectRatio = `${width * spacing[1 + a]} / ${height * spacing[1 + b]}`;
      return made;
    }

    lines(part, plane, index, value) {
      const found = this.slice(part, plane, index);
      if (!found.lines.has(value)) {
        const mask = new Uint8Array(found.values.length);
        let any = false;
        found.values.forEach((each, n) => {
          if (each === value) any = mask[n] = 1;
        });
        found.lines.set(value, any ? uncolGeometry.outlines(mask, found.width, found.height) : []);
      }
      return found.lines.get(value);
    }

    // For each plane on the screen, how its pixels lie on the canvas.
    tiles() {
      const { nv } = this, low = nv.volumeObject3D?.extentsMin, high = nv.volumeObject3D?.extentsMax;
      if (!low) return [];
      return nv.screenSlices.filter((each) => each.axCorSag <= SLICE_TYPE.SAGITTAL && each.fovMM.length).map((tile) => {
        const [a, b, across] = AXES[tile.axCorSag], [left, top, width, height] = tile.leftTopWidthHeight;
        const along = (axis, place, side) => {
          const mm = low[axis] + ((place + 0.5) / this.dims[axis]) * (high[axis] - low[axis]);
          return (mm - tile.leftTopMM[side]) / tile.fovMM[side];
        };
        return {
          plane: tile.axCorSag, index: this.voxel[across], across,
          box: [Math.min(left, left + width), top, Math.abs(width), height],
          x: (place) => left + along(a, place, 0) * width,
          y: (place) => top + height - along(b, place, 1) * height,
        };
      });
    }

    paint() {
      const { ink, canvas, look } = this, pen = ink.getContext("2d");
      if (ink.width !== canvas.width || ink.height !== canvas.height) Object.assign(ink, { width: canvas.width, height: canvas.height });
      pen.clearRect(0, 0, ink.width, ink.height);
      const unit = canvas.width / canvas.clientWidth || 1, tiles = this.tiles();
      for (const tile of tiles) this.paintSides(pen, tile, unit);
      if (look.hidden) return;
      for (const tile of tiles) {
        pen.save();
        pen.beginPath();
        pen.rect(...tile.box);
        pen.clip();
        if (look.errors) this.paintErrors(pen, tile, unit);
        this.paintStructures(pen, tile, unit);
        if (look.doubt === "regions" && !look.errors) this.paintPlaces(pen, tile, unit);
        pen.restore();
        this.paintSides(pen, tile, unit);
      }
    }

    // Which side of the patient is where, on all four sides of a plane.
    paintSides(pen, tile, unit) {
      const [a, b] = AXES[tile.plane], [left, top, width, height] = tile.box, edge = 11 * unit;
      const [first, last] = tile.x(1) > tile.x(0) ? SIDES[a] : [...SIDES[a]].reverse();
      const [low, high] = tile.y(1) < tile.y(0) ? SIDES[b] : [...SIDES[b]].reverse();
      Object.assign(pen, { font: `600 ${13 * unit}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle",
        lineJoin: "round", lineWidth: 3 * unit, strokeStyle: "rgba(0,0,0,0.85)", fillStyle: "#dfe6ec" });
      for (const [letter, x, y] of [[first, left + edge, top + height / 2], [last, left + width - edge, top + height / 2],
                                    [high, left + width / 2, top + edge], [low, left + width / 2, top + height - edge]]) {
        pen.strokeText(letter, x, y);
        pen.fillText(letter, x, y);
      }
    }

    path(pen, tile, lines) {
      pen.beginPath();
      for (const line of lines) {
        pen.moveTo(tile.x(line[0]), tile.y(line[1]));
        for (let n = 2; n < line.length; n += 2) pen.lineTo(tile.x(line[n]), tile.y(line[n + 1]));
        pen.closePath();
      }
    }

    paintStructures(pen, tile, unit) {
      const { look, data } = this;
      for (const each of data.structures) {
        if (look.off.has(each.value)) continue;
        const other = look.compare && this.parts[look.compare];
        this.path(pen, tile, this.lines(other ? look.compare : "labels", tile.plane, tile.index, each.value));
        if (look.fill && !look.errors) {
          pen.fillStyle = each.color + (other ? "30" : "3d");
          pen.fill("evenodd");
        }
        pen.lineWidth = 3.4 * unit;
        pen.strokeStyle = "rgba(0,0,0,0.45)";
        pen.stroke();
        pen.lineWidth = 1.8 * unit;
        pen.setLineDash(other ? [6 * unit, 4 * unit] : []);
        pen.strokeStyle = each.color;
        pen.stroke();
        pen.setLineDash([]);
      }
    }

    paintPlaces(pen, tile, unit) {
      const own = this.slice("places", tile.plane, tile.index);
      for (const place of this.data.places) {
        const lines = this.lines("places", tile.plane, tile.index, place.number);
        if (!lines.length || !own) continue;
        this.path(pen, tile, lines);
        pen.fillStyle = `rgba(${DOUBT},${place.seen ? 0.1 : 0.26})`;
        pen.fill("evenodd");
        pen.lineWidth = (place.current ? 2.6 : 1.5) * unit;
        pen.strokeStyle = `rgb(${DOUBT})`;
        pen.stroke();
        this.badge(pen, tile, lines, place, unit);
      }
    }

    badge(pen, tile, lines, place, unit) {
      const longest = lines.reduce((a, b) => (b.length > a.length ? b : a));
      let best = [0, Infinity];
      for (let n = 0; n < longest.length; n += 2) {
        const y = tile.y(longest[n + 1]);
        if (y < best[1]) best = [tile.x(longest[n]), y];
      }
      const r = 9 * unit, [left, top, width] = tile.box;
      let x = Math.min(left + width - r - 2, Math.max(left + r + 2, best[0])), y = Math.max(top + r + 2, best[1] - r - 3 * unit);
      const off = x - (left + width / 2), letter = 20 * unit; // the side's letter stays free
      if (y < top + 22 * unit && Math.abs(off) < letter) x += (off < 0 ? -letter : letter) - off;
      pen.beginPath();
      pen.arc(x, y, r, 0, 2 * Math.PI);
      pen.fillStyle = place.seen ? "#3a2a36" : "#c2186f";
      pen.fill();
      pen.lineWidth = 1.2 * unit;
      pen.strokeStyle = "#fff";
      pen.stroke();
      pen.fillStyle = "#fff";
      pen.font = `600 ${11 * unit}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText(String(place.number), x, y + 0.5 * unit);
    }

    // Where result and reference differ: too much in orange, missing in blue.
    paintErrors(pen, tile, unit) {
      const result = this.slice("labels", tile.plane, tile.index), truth = this.slice("reference", tile.plane, tile.index);
      const differ = (test) => {
        const mask = new Uint8Array(result.values.length);
        mask.forEach((_, n) => {
          if (truth.values[n] !== 255 && result.values[n] !== truth.values[n] && test(result.values[n], truth.values[n])) mask[n] = 1;
        });
        return uncolGeometry.outlines(mask, result.width, result.height);
      };
      for (const [color, test] of [["#ff8a1f", (found) => found], ["#35a7ff", (found, right) => right]]) {
        this.path(pen, tile, differ(test));
        pen.fillStyle = color + "a6";
        pen.fill("evenodd");
        pen.lineWidth = unit;
        pen.strokeStyle = color;
        pen.stroke();
      }
    }

    // ---- 3D -----------------------------------------------------------------------------------------------------
    build3d() {
      const { nv } = this;
      this.surfaces = this.data.structures.map((each) => {
        const { points, triangles } = uncolGeometry.surface(this.labels, this.dims, each.value);
        return { ...each, points: uncolGeometry.moved(points, this.data.picture.matrix), triangles, voxels: points };
      });
      const there = this.surfaces.filter((each) => each.triangles.length);
      for (const each of there)
        each.mesh = new NVMesh(each.points, each.triangles, each.name, this.colors(each), 1, true, nv.gl);
      nv.meshes = there.map((each) => each.mesh); // addMesh would give the image to the graphics card once more
      if (there.length) this.lookAt(nv.meshes);
      nv.setRenderAzimuthElevation(215, 12);
    }

    // 3D is about the surfaces and as large as they are, not about all of the image.
    lookAt(meshes) {
      const { nv } = this, axes = [0, 1, 2];
      const low = axes.map((axis) => Math.min(...meshes.map((each) => each.extentsMin[axis])));
      const high = axes.map((axis) => Math.max(...meshes.map((each) => each.extentsMax[axis])));
      nv.setPivot3D = () => {
        nv.pivot3D = axes.map((axis) => (low[axis] + high[axis]) / 2);
        nv.furthestFromPivot = Math.hypot(...axes.map((axis) => high[axis] - low[axis])) / 2;
      };
    }

    colors(surface) {
      const [r, g, b] = rgb(surface.color);
      const count = surface.voxels.length / 3, colors = new Uint8Array(4 * count);
      const shows = this.look.doubt !== "off" && !this.look.hidden;
      for (let n = 0; n < count; n++) {
        const doubt = shows ? this.doubtAt(surface.voxels, 3 * n) : 0;
        const part = Math.min(1, Math.max(0, (doubt - this.look.from) / Math.max(0.01, 0.95 * this.most - this.look.from)));
        colors.set([r + part * (DOUBT[0] - r), g + part * (DOUBT[1] - g), b + part * (DOUBT[2] - b), 255], 4 * n);
      }
      return colors;
    }

    // The mean doubt of the 27 voxels round a point: every surface lies in the thin rim of doubt.
    doubtAt(points, n) {
      let sum = 0;
      const [x, y, z] = [0, 1, 2].map((axis) => Math.round(points[n + axis]));
      for (let dz = -1; dz <= 1; dz++)
        for (let dy = -2; dy <= 2; dy += 2)
          for (let dx = -2; dx <= 2; dx += 2) {
            const [i, j, k] = [x + dx, y + dy, z + dz];
            if (i >= 0 && j >= 0 && k >= 0 && i < this.dims[0] && j < this.dims[1] && k < this.dims[2])
              sum += this.doubt[(k * this.dims[1] + j) * this.dims[0] + i];
          }
      return sum / 27 / 255;
    }

    color3d() {
      for (const each of this.surfaces ?? []) {
        if (!each.mesh) continue;
        each.mesh.rgba255 = this.colors(each);
        each.mesh.visible = !this.look.off.has(each.value);
        each.mesh.updateMesh(this.nv.gl);
      }
      this.nv.drawScene();
    }

    // ---- out of the page ----------------------------------------------------------------------------------------
    picture(caption) {
      const out = document.createElement("canvas");
      this.nv.drawScene();
      this.paint();
      const unit = this.canvas.width / this.canvas.clientWidth || 1, foot = 34 * unit;
      Object.assign(out, { width: this.canvas.width, height: this.canvas.height + foot });
      const pen = out.getContext("2d");
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, out.width, out.height);
      for (const each of [this.canvas, this.ink]) pen.drawImage(each, 0, 0);
      pen.fillStyle = "#e8edf2";
      pen.font = `${12.5 * unit}px system-ui, sans-serif`;
      pen.textBaseline = "middle";
      pen.fillText(caption, 10 * unit, this.canvas.height + foot / 2, out.width - 20 * unit);
      return out;
    }
  }

  return { open };
})();
