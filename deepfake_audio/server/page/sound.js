// Sound as pictures: a WAV file -> samples -> spectrogram; segments -> score over time.

const LENGTH = 512; // of the Fourier transform, samples
const COLUMNS = 1000;
const RANGE_DB = 80;

// What the service sends: 16-bit PCM, chunks in any order.
export function readWav(buffer) {
  const view = new DataView(buffer);
  let channels = 1, rate = 16000;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const kind = view.getUint32(at), size = view.getUint32(at + 4, true);
    at += 8;
    if (kind === 0x666d7420) { // "fmt "
      channels = view.getUint16(at + 2, true);
      rate = view.getUint32(at + 4, true);
    }
    if (kind === 0x64617461) { // "data"
      const bytes = Math.min(size, view.byteLength - at);
      const samples = new Int16Array(buffer.slice(at, at + bytes - (bytes % 2)));
      return { channels, rate, samples, duration: samples.length / channels / rate };
    }
    at += size + (size % 2);
  }
  throw new Error("not a WAV file");
}

// In place, radix 2; both arrays have LENGTH elements.
function transform(re, im) {
  for (let i = 1, j = 0; i < LENGTH; i++) {
    let bit = LENGTH >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let size = 2; size <= LENGTH; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const angle = (-2 * Math.PI * k) / size, c = Math.cos(angle), s = Math.sin(angle);
      for (let i = k; i < LENGTH; i += size) {
        const j = i + size / 2;
        const x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        [re[j], im[j]] = [re[i] - x, im[i] - y];
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

// Dark to light: legible on both grounds, and without colour vision.
const STOPS = [[4, 4, 18], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];

function colour(level) {
  const x = Math.max(0, Math.min(1, level)) * (STOPS.length - 1);
  const low = Math.min(Math.floor(x), STOPS.length - 2);
  return STOPS[low].map((value, i) => value + (STOPS[low + 1][i] - value) * (x - low));
}

export function drawSpectrogram(canvas, wav, channel) {
  const n = wav.samples.length / wav.channels;
  const columns = Math.max(1, Math.min(COLUMNS, Math.floor((n - LENGTH) / 80) + 1));
  const bins = LENGTH / 2;
  const hop = columns > 1 ? (n - LENGTH) / (columns - 1) : 0;
  const levels = new Float32Array(columns * bins);
  let top = -Infinity;
  for (let column = 0; column < columns; column++) {
    const re = new Float64Array(LENGTH), im = new Float64Array(LENGTH);
    const start = Math.floor(column * hop);
    for (let i = 0; i < LENGTH && start + i < n; i++) {
      const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / LENGTH);
      re[i] = (wav.samples[(start + i) * wav.channels + channel] / 32768) * window;
    }
    transform(re, im);
    for (let bin = 0; bin < bins; bin++) {
      const db = 10 * Math.log10(re[bin] ** 2 + im[bin] ** 2 + 1e-10);
      levels[column * bins + bin] = db;
      if (db > top) top = db;
    }
  }
  canvas.width = columns;
  canvas.height = bins;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, bins);
  for (let column = 0; column < columns; column++) {
    for (let bin = 0; bin < bins; bin++) {
      const rgb = colour(1 + (levels[column * bins + bin] - top) / RANGE_DB);
      image.data.set([...rgb, 255], ((bins - 1 - bin) * columns + column) * 4);
    }
  }
  context.putImageData(image, 0, 0);
}

// Overlapping segments of one channel, averaged into steps: [{start, end, p}], gaps left out.
export function scoreOverTime(segments) {
  const edges = [...new Set(segments.flatMap((s) => [s.start_s, s.end_s]))].sort((a, b) => a - b);
  const at = new Map(edges.map((edge, i) => [edge, i]));
  const sum = new Float64Array(edges.length), count = new Float64Array(edges.length);
  for (const segment of segments) {
    const start = at.get(segment.start_s), end = at.get(segment.end_s);
    sum[start] += segment.p_synthetic;
    sum[end] -= segment.p_synthetic;
    count[start]++;
    count[end]--;
  }
  const steps = [];
  let total = 0, covering = 0;
  for (let i = 0; i + 1 < edges.length; i++) {
    total += sum[i];
    covering += count[i];
    if (covering > 0.5) steps.push({ start: edges[i], end: edges[i + 1], p: total / covering });
  }
  return steps;
}

// The one that decided: the highest mean score.
export function mostSuspicious(segments) {
  const sums = new Map();
  for (const { channel, llr_synthetic: llr } of segments) {
    const [sum, count] = sums.get(channel) ?? [0, 0];
    sums.set(channel, [sum + llr, count + 1]);
  }
  const means = [...sums].map(([channel, [sum, count]]) => [sum / count, channel]);
  return means.sort((a, b) => b[0] - a[0])[0]?.[1] ?? 0;
}
