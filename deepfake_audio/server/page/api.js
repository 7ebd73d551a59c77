// The service's API, with the key of this tab: it is forgotten when the tab is closed.

export class ApiError extends Error {
  constructor(status, error) {
    super([error.name, error.message].filter(Boolean).join(": ") + (error.hint ? ` (${error.hint})` : ""));
    this.status = status;
  }
}

export function useKey(key) {
  if (key) sessionStorage.apiKey = key;
  else delete sessionStorage.apiKey;
}

export const hasKey = () => "apiKey" in sessionStorage;

async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  if (hasKey()) headers.set("Authorization", `Bearer ${sessionStorage.apiKey}`);
  const answer = await fetch(new URL(path, document.baseURI), { ...options, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, body.error ?? { message: `${answer.status} ${answer.statusText}` });
}

const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null));

export const get = async (path, values = {}) => (await send(`v1/${path}?${query(values)}`)).json();

export const audio = async (id, signal) => (await send(`v1/detections/${id}/audio.wav`, { signal })).arrayBuffer();

export async function review(id, decision, note) {
  const answer = await send(`v1/detections/${id}/reviews`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ decision, note }),
  });
  return answer.json();
}

export async function upload(file) {
  const form = new FormData();
  form.append("file", file);
  const answer = await send("v1/detections", { method: "POST", headers: { Prefer: "wait=30" }, body: form });
  return answer.json();
}
