// Two ways to carry messages. Both give { request(message, buffers, { progress, signal }), close() }, and `request`
// gives a promise of [reply, buffers]. A reply with an error, and a cancelled request, reject it.

function settle(reply, buffers) {
  if (reply.error) throw new Error(reply.error);
  if (reply.cancelled) throw new DOMException("cancelled", "AbortError");
  return [reply, buffers];
}

// A frame: 4 bytes for the header's length, the header as JSON with the buffers' lengths, the buffers.
function framed(header, buffers) {
  const text = new TextEncoder().encode(JSON.stringify({ ...header, buffers: buffers.map((b) => b.byteLength) }));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, text.length, true);
  return new Blob([length, text, ...buffers]);
}

// The frames of a streamed response, as they arrive.
async function* frames(response) {
  const reader = response.body.getReader();
  let held = new Uint8Array(0);
  const need = async (count) => {
    while (held.length < count) {
      const { done, value } = await reader.read();
      if (done) return false;
      const both = new Uint8Array(held.length + value.length);
      both.set(held);
      both.set(value, held.length);
      held = both;
    }
    return true;
  };
  const take = (count) => {
    const part = held.slice(0, count);
    held = held.slice(count);
    return part;
  };
  while (await need(4)) {
    const length = new DataView(take(4).buffer).getUint32(0, true);
    if (!(await need(length))) return;
    const header = JSON.parse(new TextDecoder().decode(take(length)));
    const buffers = [];
    for (const size of header.buffers) {
      if (!(await need(size))) return;
      buffers.push(take(size));
    }
    yield [header, buffers];
  }
}

export async function openHttp(token) {
  const headers = { "X-Token": token };
  const refused = async (response) => {
    if (response.ok || response.status === 413) return response;
    throw new Error(`The server refused: ${await response.text()}.`);
  };
  const held = new AbortController();
  const alive = frames(await refused(await fetch("session", { method: "POST", headers, signal: held.signal })));
  const { value } = await alive.next(); // the response stays open while the page does
  if (!value || value[0].error) throw new Error(value ? value[0].error : "The server closed the connection.");
  headers["X-Session"] = value[0].session;
  return {
    async request(message, buffers = [], { progress, signal } = {}) {
      let response;
      try {
        response = await fetch("message", { method: "POST", headers, body: framed(message, buffers), signal });
      } catch (error) {
        throw error.name === "AbortError" ? error : new Error("ca-numpy explore has ended: start it again.");
      }
      for await (const [reply, parts] of frames(await refused(response))) {
        if (reply.done) return settle(reply, parts);
        if (progress && reply.progress !== undefined) progress(reply.progress);
      }
      throw new Error("The connection was lost: reload the page.");
    },
    close: () => held.abort(),
  };
}

export function overComm(model) {
  const waiting = new Map();
  const received = (reply, buffers) => {
    const one = waiting.get(reply.id);
    if (!one) return;
    if (!reply.done) return one.progress && one.progress(reply.progress);
    waiting.delete(reply.id);
    try {
      one.resolve(settle(reply, buffers.map((b) => new Uint8Array(b.buffer || b, b.byteOffset || 0, b.byteLength))));
    } catch (error) {
      one.reject(error);
    }
  };
  model.on("msg:custom", received);
  return {
    request(message, buffers = [], { progress, signal } = {}) {
      const id = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject, progress });
        if (signal) signal.addEventListener("abort", () => model.send({ id, cancel: true }));
        model.send({ ...message, id }, undefined, buffers);
      });
    },
    close: () => model.off("msg:custom", received),
  };
}
