// OpenAI's interface as the router speaks it: what the page asks, and what comes of it.
const API = new URL("../v1/", document.baseURI);

async function refusal(response) {
  const told = await response.json().catch(() => null);
  return new Error(told?.error?.message ?? `the server answered ${response.status}`);
}

export async function models() {
  const response = await fetch(new URL("models", API));
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data.map((model) => model.id);
}

// Each event of a stream, as an object; one that ends without saying that it is over was cut.
async function* events(response) {
  let rest = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
  throw new Error("the answer broke off");
}

// Ask for an answer, and tell of it piece by piece: first `variant`, `version`, `fallback` and `exposure`, then `text`,
// `thought` and `probabilities`, at the end `tokens`. Raises Error with what a person should read.
export async function* answer(request, headers, signal) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const sent = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body, signal };
  const response = await fetch(new URL("chat/completions", API), sent);
  if (!response.ok) throw await refusal(response);
  const header = (name) => response.headers.get(name);
  yield {
    variant: header("X-Anneal-Variant"),
    version: header("X-Anneal-Version"),
    fallback: header("X-Anneal-Fallback") === "true",
    exposure: header("X-Exposure-Id"),
  };
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (event.usage) yield { tokens: event.usage.completion_tokens };
    if (!choice) continue;
    yield {
      text: choice.delta.content ?? "",
      thought: choice.delta.reasoning ?? choice.delta.reasoning_content ?? "",
      probabilities: (choice.logprobs?.content ?? []).map((token) => Math.exp(token.logprob)),
    };
  }
}

// Rate an answer; returns what became of it, for people. A later rating takes the place of an earlier one.
export async function rate(exposureId, metric, value) {
  const body = JSON.stringify({ exposureId, metric, value });
  const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  const response = await fetch(new URL("feedback", API), sent);
  if (!response.ok) throw await refusal(response);
  if (response.status === 202) return "Counts once the answer is recorded";
  const told = await response.json();
  return told.status === "recorded" ? "Recorded" : `Not counted: ${told.reason}`;
}
