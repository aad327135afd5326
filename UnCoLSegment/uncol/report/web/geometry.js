// Outlines of slices, surfaces of structures and STL files: plain geometry on arrays, nothing of the page.
"use strict";
const uncolGeometry = (() => {
  // The outlines of a mask (Uint8Array of width x height) as closed lines [x0, y0, x1, y1, ...] in pixel centers.
  // Marching squares at the middle between pixels, then Chaikin's corner cutting once.
  function outlines(mask, width, height) {
    const next = new Map();
    const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : mask[y * width + x]);
    const span = 2 * width + 4;
    const key = (x, y) => (2 * y + 2) * span + 2 * x + 2; // x and y are multiples of one half
    const link = (x0, y0, x1, y1) => {
      const from = key(x0, y0);
      if (next.has(from)) next.get(from).push(key(x1, y1));
      else next.set(from, [key(x1, y1)]);
    };
    for (let y = -1; y < height; y++) {
      for (let x = -1; x < width; x++) {
        const a = at(x, y), b = at(x + 1, y), c = at(x + 1, y + 1), d = at(x, y + 1);
        const kind = a | (b << 1) | (c << 2) | (d << 3);
        if (kind === 0 || kind === 15) continue;
        const top = [x + 0.5, y], right = [x + 1, y + 0.5], bottom = [x + 0.5, y + 1], left = [x, y + 0.5];
        const lines = LINES[kind];
        const ends = { t: top, r: right, b: bottom, l: left };
        for (const [from, to] of lines) link(...ends[from], ...ends[to]);
      }
    }
    const found = [];
    while (next.size) {
      const [start] = next.keys();
      const line = [];
      let here = start;
      while (next.has(here)) {
        const exits = next.get(here);
        const to = exits.pop();
        if (!exits.length) next.delete(here);
        line.push((here % span) / 2 - 1, Math.floor(here / span) / 2 - 1);
        here = to;
        if (here === start) break;
      }
      found.push(rounded(line));
    }
    return found;
  }

  const LINES = [
    [], ["lt"], ["tr"], ["lr"], ["rb"], ["lt", "rb"], ["tb"], ["lb"],
    ["bl"], ["bt"], ["tr", "bl"], ["br"], ["rl"], ["rt"], ["tl"], [],
  ];

  function rounded(line) {
    const count = line.length / 2;
    if (count < 3) return line;
    const smooth = new Float32Array(4 * count);
    for (let i = 0; i < count; i++) {
      const j = (i + 1) % count;
      for (let axis = 0; axis < 2; axis++) {
        const here = line[2 * i + axis], there = line[2 * j + axis];
        smooth[4 * i + axis] = 0.75 * here + 0.25 * there;
        smooth[4 * i + 2 + axis] = 0.25 * here + 0.75 * there;
      }
    }
    return smooth;
  }

  // The surface of one label value as { points: Float32Array (x, y, z, ...) in voxel indices, triangles: Uint32Array }.
  // Naive surface nets, then Taubin smoothing, which keeps the volume.
  function surface(labels, dims, value) {
    const [nx, ny, nz] = dims;
    const box = extent(labels, dims, value);
    if (!box) return { points: new Float32Array(0), triangles: new Uint32Array(0) };
    const [x0, y0, z0, x1, y1, z1] = box;
    const wx = x1 - x0 + 2, wy = y1 - y0 + 2; // cells from one before the first voxel to the last
    const vertexOf = new Int32Array(wx * wy * 2).fill(-1);
    const points = [], triangles = [];
    const inside = (x, y, z) =>
      x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz && labels[(z * ny + y) * nx + x] === value ? 1 : 0;
    const corner = new Uint8Array(8);
    for (let z = z0 - 1; z <= z1; z++) {
      const layer = (z & 1) * wx * wy, below = ((z & 1) ^ 1) * wx * wy;
      vertexOf.fill(-1, layer, layer + wx * wy);
      for (let y = y0 - 1; y <= y1; y++) {
        for (let x = x0 - 1; x <= x1; x++) {
          let full = 0;
          for (let n = 0; n < 8; n++) full += corner[n] = inside(x + (n & 1), y + ((n >> 1) & 1), z + (n >> 2));
          if (full === 0 || full === 8) continue;
          let sx = 0, sy = 0, sz = 0, crossings = 0;
          for (const [a, b] of EDGES) {
            if (corner[a] === corner[b]) continue;
            sx += ((a & 1) + (b & 1)) / 2;
            sy += (((a >> 1) & 1) + ((b >> 1) & 1)) / 2;
            sz += ((a >> 2) + (b >> 2)) / 2;
            crossings++;
          }
          const here = (y - y0 + 1) * wx + (x - x0 + 1);
          vertexOf[layer + here] = points.length / 3;
          points.push(x + sx / crossings, y + sy / crossings, z + sz / crossings);
          const quad = (a, b, c, d, turned) => {
            if (turned) triangles.push(a, c, b, a, d, c);
            else triangles.push(a, b, c, a, c, d);
          };
          const v = vertexOf[layer + here];
          if (corner[0] !== corner[1]) quad(v, vertexOf[layer + here - wx], vertexOf[below + here - wx], vertexOf[below + here], corner[1]);
          if (corner[0] !== corner[2]) quad(v, vertexOf[below + here], vertexOf[below + here - 1], vertexOf[layer + here - 1], corner[2]);
          if (corner[0] !== corner[4]) quad(v, vertexOf[layer + here - 1], vertexOf[layer + here - 1 - wx], vertexOf[layer + here - wx], corner[4]);
        }
      }
    }
    return { points: smoothed(new Float32Array(points), triangles, 12), triangles: new Uint32Array(triangles) };
  }

  const EDGES = [[0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6], [5, 7], [6, 7]];

  function extent(labels, dims, value) {
    const [nx, ny, nz] = dims;
    const low = [nx, ny, nz], high = [-1, -1, -1];
    for (let z = 0, n = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++, n++)
          if (labels[n] === value) {
            if (x < low[0]) low[0] = x;
            if (x > high[0]) high[0] = x;
            if (y < low[1]) low[1] = y;
            if (y > high[1]) high[1] = y;
            if (z < low[2]) low[2] = z;
            high[2] = z;
          }
    return high[0] < 0 ? null : [...low, ...high];
  }

  function smoothed(points, triangles, rounds) {
    const count = points.length / 3;
    const sums = new Float32Array(points.length), weights = new Float32Array(count);
    for (let round = 0; round < 2 * rounds; round++) {
      const step = round % 2 ? -0.34 : 0.33;
      sums.fill(0);
      weights.fill(0);
      for (let t = 0; t < triangles.length; t += 3)
        for (let e = 0; e < 3; e++) {
          const a = triangles[t + e], b = triangles[t + ((e + 1) % 3)];
          sums[3 * a] += points[3 * b];
          sums[3 * a + 1] += points[3 * b + 1];
          sums[3 * a + 2] += points[3 * b + 2];
          weights[a]++;
        }
      for (let n = 0; n < count; n++)
        for (let axis = 0; axis < 3; axis++)
          points[3 * n + axis] += step * (sums[3 * n + axis] / weights[n] - points[3 * n + axis]);
    }
    return points;
  }

  // Points moved by a matrix of 16 numbers, row by row.
  function moved(points, m) {
    const out = new Float32Array(points.length);
    for (let n = 0; n < points.length; n += 3)
      for (let row = 0; row < 3; row++)
        out[n + row] = m[4 * row] * points[n] + m[4 * row + 1] * points[n + 1] + m[4 * row + 2] * points[n + 2] + m[4 * row + 3];
    return out;
  }

  // A binary STL file of points in RAS mm; it is written in LPS, as programs for medical images read it.
  function stl(points, triangles, title) {
    const count = triangles.length / 3;
    const file = new DataView(new ArrayBuffer(84 + 50 * count));
    const head = `${title.replace(/[^ -~]/g, "?").slice(0, 50)} SPACE=LPS mm`;
    for (let n = 0; n < head.length; n++) file.setUint8(n, head.charCodeAt(n));
    file.setUint32(80, count, true);
    for (let t = 0; t < count; t++) {
      const place = 84 + 50 * t;
      const corners = [0, 1, 2].map((e) => {
        const n = 3 * triangles[3 * t + e];
        return [-points[n], -points[n + 1], points[n + 2]];
      });
      [normal(...corners), ...corners].flat().forEach((each, n) => file.setFloat32(place + 4 * n, each, true));
    }
    return file.buffer;
  }

  function normal(a, b, c) {
    const u = [0, 1, 2].map((n) => b[n] - a[n]), v = [0, 1, 2].map((n) => c[n] - a[n]);
    const cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    const length = Math.hypot(...cross) || 1;
    return cross.map((each) => each / length);
  }

  return { outlines, surface, moved, stl };
})();
