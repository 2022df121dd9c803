// Uploads whose progress is shown: `fetch` does not report how much of a body has been sent.

/** Sends a request as `fetch` does, and calls `onUpload` with the part of the body that has been sent. */
export function upload(url: string, init: RequestInit, onUpload: (fraction: number) => void): Promise<Response> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const stopped = () => reject(new DOMException("the request was stopped", "AbortError"));
    const stop = () => sending.abort();
    sending.open(init.method ?? "POST", url);
    for (const [name, value] of new Headers(init.headers)) sending.setRequestHeader(name, value);
    sending.responseType = "blob";
    sending.upload.addEventListener("progress", ({ loaded, total }) => onUpload(total > 0 ? loaded / total : 1));
    sending.addEventListener("load", () => {
      const lines = sending.getAllResponseHeaders().trim().split("\r\n");
      const headers = lines.map((line): [string, string] => {
        const at = line.indexOf(":");
        return [line.slice(0, at), line.slice(at + 1).trim()];
      });
      const body = sending.status === 204 ? null : (sending.response as Blob);
      resolve(new Response(body, { status: sending.status, statusText: sending.statusText, headers }));
    });
    sending.addEventListener("error", () => reject(new TypeError("the request failed")));
    sending.addEventListener("abort", stopped);
    sending.addEventListener("loadend", () => init.signal?.removeEventListener("abort", stop));
    init.signal?.addEventListener("abort", stop);
    if (init.signal?.aborted) stopped();
    else sending.send(init.body as XMLHttpRequestBodyInit);
  });
}
