// Starts Swagger UI with the extensions that the page of a Token API needs.
"use strict";

// A browser cannot send a GET with a body, so the page does not offer to try one out.
const noGetWithBody = (original, system) => (state, path, method) =>
  original(state, path, method) &&
  !(method === "get" && system.specSelectors.specJson().getIn(["paths", path, "get", "requestBody"]));

// Hides operations whose tag is marked x-internal.
const noInternalTags = (Original, system) => (props) =>
  props.tagObj.getIn(["tagDetails", "x-internal"]) ? null : system.React.createElement(Original, props);

// Replaces the link inside the button that opens an operation by plain text: a
// button must not contain another control.
const plainText = (_, system) => ({ text }) => system.React.createElement("span", null, text);

// Hides headers that almost every response has (x-everywhere). The description of
// the sign-in names them.
const particularHeaders = (Original, system) => (props) => {
  const headers = props.headers?.filterNot((header) => header.get("x-everywhere"));
  return headers?.size ? system.React.createElement(Original, { ...props, headers }) : null;
};

// Masks secrets in the form and in Basic authentication, in the curl command that
// the page shows.
const withoutSecrets = (Original, system) => ({ request, ...props }) => {
  const body = request.get("body");
  if (typeof body === "string") request = request.set("body", body.replace(/(^|&)(password|client_secret|token|refresh_token)=[^&]*/g, "$1$2=***"));
  const headers = request.get("headers")?.map((value, name) =>
    name.toLowerCase() === "authorization" && /^basic /i.test(value) ? "Basic ***" : value);
  if (headers) request = request.set("headers", headers);
  return system.React.createElement(Original, { ...props, request });
};

// Shows code samples (x-codeSamples) above the responses. The responses take most
// of the time to render an operation, so they are rendered after the first frame.
const withSamples = (Original, system) => (props) => {
  const h = system.React.createElement;
  const samples = system.specSelectors.specJson().getIn(["paths", props.path, props.method, "x-codeSamples"]);
  const [drawn, setDrawn] = system.React.useState(false);
  system.React.useEffect(() => { requestAnimationFrame(() => setTimeout(() => setDrawn(true))); }, []);
  return h(system.React.Fragment, null,
    samples && h(Samples, { key: "samples", h, system, samples: samples.toJS(), operation: `${props.method.toUpperCase()} ${props.path}` }),
    drawn && h(Original, props));
};

// Samples follows the tabs pattern of the ARIA Authoring Practices: Tab moves to the
// selected tab, and the arrow keys select another one.
function Samples({ h, system, samples, operation }) {
  const id = `samples-${operation.replace(/[^A-Za-z]/g, "-")}`;
  const [chosen, choose] = system.React.useState(0);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (chosen + step + samples.length) % samples.length;
    choose(next);
    event.currentTarget.children[next].focus();
  };
  return h("section", { className: "samples", "aria-label": `Example request: ${operation}` },
    h("h4", null, "Example request"),
    h("div", { role: "tablist", "aria-label": `Languages: ${operation}`, onKeyDown: move },
      samples.map((sample, i) => h("button", {
        key: i, type: "button", role: "tab", id: `${id}-tab-${i}`, "aria-controls": `${id}-panel`,
        "aria-selected": i === chosen, tabIndex: i === chosen ? 0 : -1, onClick: () => choose(i),
      }, sample.label))),
    h("pre", { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": `${id}-tab-${chosen}`, tabIndex: 0 },
      h("code", null, samples[chosen].source)));
}

// Adds the labels, roles and tab stops that Swagger UI lacks, for readers with a
// screen reader or without a mouse.
function addLabels(root) {
  for (const control of root.querySelectorAll("select, textarea, input")) {
    if (control.labels?.length || control.hasAttribute("aria-label") || control.hasAttribute("aria-labelledby")) continue;
    const row = control.closest("tr, .examples-select, .servers, .auth-container");
    const named = row?.querySelector(".parameter__name, .servers-title, h4");
    const name = named?.firstChild?.textContent ?? (control.matches(".examples-select-element") ? "Example" : control.name);
    control.setAttribute("aria-label", name?.trim() || "Value");
  }
  for (const button of root.querySelectorAll("button")) {
    const label = button.getAttribute("aria-label");
    if (button.matches(".close-modal")) button.setAttribute("aria-label", "Close");
    else if (label && !label.includes(button.textContent.trim())) button.setAttribute("aria-label", `${button.textContent.trim()}: ${label}`);
  }
  for (const box of root.querySelectorAll("pre, .highlight-code")) {
    if (box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  // Swagger UI skips heading levels: h3 follows h1, and h6 follows h4. Assistive
  // technology reads these levels instead, which have no gap.
  for (const heading of root.querySelectorAll("h3, h4, h5, h6")) heading.setAttribute("aria-level", Math.min(4, heading.tagName[1] - 1));
  for (const table of root.querySelectorAll(".responses-table[role=region]")) table.setAttribute("aria-label", `Responses: ${table.id}`);
  for (const part of root.querySelectorAll(".information-container, .scheme-container")) {
    part.setAttribute("role", "region");
    part.setAttribute("aria-label", part.matches(".scheme-container") ? "Authorization" : "About");
  }
  for (const modal of root.querySelectorAll(".modal-ux")) {
    modal.setAttribute("role", "dialog");
    modal.setAttribute("aria-modal", "true");
    modal.setAttribute("aria-label", "Authorization");
  }
}

// Sets the server of the description to the root of the API in the browser's URL.
// Behind a proxy that removes a prefix, this root includes the prefix.
function belowRoot(description) {
  const { root } = page.dataset;
  if (!root) return description;
  const { servers, ...rest } = description;
  const prefix = new URL(root, location.href).pathname.replace(/\/$/, "");
  return prefix ? { ...rest, servers: [{ url: prefix }] } : rest;
}

// Swagger UI's resolver processes the whole description for each operation that is
// opened. This plugin resolves simple references itself, which is faster. It calls
// the resolver only for other references.
const lookUp = () => {
  let description;
  return { statePlugins: { spec: { wrapActions: {
    updateJsonSpec: (update) => (json) => update(description = belowRoot(json)),
    requestResolvedSubtree: (resolve, { specActions }) => (path) => {
      let found;
      try {
        found = withReferences(description, path);
      } catch {
        return resolve(path);
      }
      return specActions.updateResolvedSubtree(path, found);
    },
  } } } };
};

// withReferences returns a part of the description with its references replaced by
// their targets. It throws for external or circular references, for references with
// sibling members, and for parts that inherit parameters, servers or schemas.
function withReferences(description, path) {
  const at = (names) => names.reduce((value, name) => value[name], description);
  const inherits = ["$ref", "allOf", "parameters", "servers"];
  const check = (fine) => { if (!fine) throw new RangeError(path); };
  check(!inherits.some((name) => name in at(path.slice(0, 2))));
  return JSON.parse(JSON.stringify(at(path), (name, value) => {
    check(!inherits.includes(name));
    if (typeof value?.$ref !== "string") return value;
    const target = at(value.$ref.split("/").slice(1));
    check(value.$ref.startsWith("#/") && Object.keys(value).length === 1 && typeof target === "object" && !("$ref" in target));
    return { ...target, $$ref: value.$ref }; // Swagger UI reads the schema's name from $$ref
  }));
}

// Selects Swagger UI's dark theme if the browser prefers a dark one.
const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", setTheme);
setTheme();

const page = document.getElementById("page");
const ui = SwaggerUIBundle({
  url: page.dataset.description,
  domNode: page,
  docExpansion: "list",
  deepLinking: true,
  displayRequestDuration: true,
  tagsSorter: (a, b) => (a === "Token") - (b === "Token"), // Token comes last, even after operations without a tag
  defaultModelsExpandDepth: 0, // collapses the schemas
  validatorUrl: null, // no external validator
  queryConfigEnabled: false,
  persistAuthorization: false,
  plugins: [lookUp, () => ({
    statePlugins: { spec: { wrapSelectors: { allowTryItOutFor: noGetWithBody } } },
    wrapComponents: { OperationTag: noInternalTags, DeepLink: plainText, headers: particularHeaders, curl: withoutSecrets, responses: withSamples },
  })],
  // After a sign-in on the page, the following requests send the token from it.
  responseInterceptor: (response) => {
    if (response.ok && response.body?.access_token) ui.preauthorizeApiKey("bearer", response.body.access_token);
    return response;
  },
  onComplete: () => {
    let due = 0; // the requested animation frame; one call of addLabels serves all changes before it
    const observer = new MutationObserver(() => { due ||= requestAnimationFrame(() => { due = 0; addLabels(page); }); });
    observer.observe(page, { childList: true, subtree: true });
    addLabels(page);
    if (!location.hash) openAll(); // a link to an operation opens only that one
  },
});

// Opens the first operation, and opens the others after the first is rendered.
function openAll() {
  const [first, ...others] = ui.specSelectors.taggedOperations().entrySeq().flatMap(([tag, group]) =>
    group.get("operations").map((o) => ["operations", tag, o.getIn(["operation", "operationId"]) || o.get("id")])).toArray();
  if (!first) return;
  // Swagger UI's own action would add each opened operation to the browser's history.
  const open = (thing) => ui.getStore().dispatch({ type: "layout_show", payload: { thing, shown: true } });
  open(first);
  const next = () => page.querySelector(".opblock-body .responses-table") ? setTimeout(() => others.forEach(open)) : requestAnimationFrame(next);
  next();
}
