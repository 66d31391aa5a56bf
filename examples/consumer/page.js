const $ = (id) => document.getElementById(id);

// Why the user was signed out: the reasons of the last event of /events, and a refresh
// that the service refused.
const reasons = {
  ended: "You were signed out: this device was ended, on another device or by a new password.",
  replaced: "You were signed out, because this device signed in again.",
  refused: "You were signed out: your sign-in has expired, or this device was ended.",
};

// A Refusal is a response with an error.
class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(body.error_description);
    this.status = status;
    this.code = body.error;
    this.retryAfter = retryAfter;
  }
}

// call sends a request, with a form if there is one. The browser adds the cookies.
async function call(method, path, form) {
  const response = await fetch(path, { method, body: form && new URLSearchParams(form), cache: "no-store" });
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Refusal(response.status, body, response.headers.get("Retry-After"));
  }
  return response.status === 204 ? null : response.json();
}

// api calls a route that needs a valid access token. If it is no longer valid, api
// refreshes it, and calls again.
async function api(method, path, form) {
  try {
    return await call(method, path, form);
  } catch (err) {
    if (err.status !== 401) throw err;
  }
  await refresh();
  return call(method, path, form);
}

// say tells the user something. With unseen, only a screen reader does.
function say(text, style = "") {
  $("status").className = style;
  $("status").textContent = text;
}

// explain says what went wrong, for people.
function explain(err) {
  if (!(err instanceof Refusal)) {
    say("The service does not answer. Try again in a moment.");
  } else if (err.status === 401) {
    signedOut(reasons.refused);
  } else if (err.status === 429) {
    say(`Too many tries. Try again in ${err.retryAfter} seconds.`);
  } else if (err.status >= 500) {
    say("The service is busy. Try again in a moment.");
  } else {
    say(err.message || "That did not work.");
  }
}

// onSubmit and onClick run an action and keep its button disabled meanwhile.
const onSubmit = (form, action) => form.addEventListener("submit", (event) => {
  event.preventDefault();
  run(form.querySelector("button"), action);
});
const onClick = (button, action) => button.addEventListener("click", () => run(button, action));

async function run(button, action) {
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true"); // not disabled, which would lose the focus
  try {
    await action();
  } catch (err) {
    explain(err);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

// Staying signed in
//
// A user stays signed in for up to 90 days, but an access token is valid for 15 minutes.
// Both the access token and the refresh token are in cookies that no script can read. The
// browser sends the one with the refresh token to /session only. There the page exchanges
// it for two new cookies:
//
// - halfway through the 15 minutes, so that the stream does not end;
// - after a 401, for example because the page was closed meanwhile, or the computer slept.

// alone runs an action that sets or deletes the cookies. All tabs of the browser share
// them, so only one tab at a time may do so.
const alone = (action) => navigator.locks.request("cookies", action);

// refresh gets new tokens if it is time, and returns the user. Another tab may have got
// them just before. If the user has to sign in again, refresh throws a Refusal with the
// status 401.
const refresh = () => alone(async () => {
  try {
    const me = await call("GET", "api/me");
    if (me.refreshIn > 0) return me;
  } catch (err) {
    if (err.status !== 401) throw err;
  }
  try {
    await call("POST", "session", { grant_type: "refresh_token" });
  } catch (err) {
    throw err.status === 400 ? new Refusal(401, {}, null) : err;
  }
  return call("GET", "api/me");
});

let timer;

function keepLater(seconds) {
  clearTimeout(timer);
  timer = setTimeout(keep, Math.max(seconds, 5) * 1000);
}

// keep refreshes the tokens, and does so again in time.
async function keep() {
  let next = 10; // seconds, after a failure
  try {
    next = (await refresh()).refreshIn;
  } catch (err) {
    if (err.status === 401 && !$("signed-in").hidden) explain(err);
  }
  if (!$("signed-in").hidden) keepLater(next);
}

// Signing in and out

// A script cannot see the cookies, so the page remembers the latest sign-in. All tabs
// share both. After a sign-in in another tab, this one belongs to that user, too.
let session = localStorage.getItem("signed-in");

addEventListener("storage", (event) => {
  if (event.key === "signed-in" && event.newValue && event.newValue !== session) location.reload();
});

// deviceID returns an ID that this browser keeps.
function deviceID() {
  let id = localStorage.getItem("device");
  if (!id) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    localStorage.setItem("device", id);
  }
  return id;
}

function guessName() {
  const agent = navigator.userAgent;
  const browser = ["Edg", "Firefox", "Chrome", "Safari"].find((name) => agent.includes(name + "/"));
  const system = ["Android", "iPhone", "iPad", "Windows", "Mac", "Linux"].find((name) => agent.includes(name));
  return `${browser?.replace("Edg", "Edge") ?? "Browser"} on ${system ?? "a computer"}`;
}

function askForCode(ask) {
  $("factor").hidden = !ask;
  $("otp").disabled = !ask;
  $("otp").value = "";
}

$("username").addEventListener("input", () => askForCode(false)); // another user may need none

onSubmit($("sign-in"), async () => {
  const form = new FormData($("sign-in"));
  form.set("grant_type", "password");
  form.set("device", deviceID());
  try {
    await alone(() => call("POST", "session", form));
  } catch (err) {
    if (err.code === "mfa_required") {
      askForCode(true);
      say("Enter the code that your authenticator app shows.");
      $("otp").focus();
      return;
    }
    const field = err.code === "invalid_grant" && !$("factor").hidden ? $("otp") : $("password");
    field.value = "";
    field.focus();
    throw err;
  }
  localStorage.setItem("device-name", form.get("device_name"));
  session = String(Date.now());
  localStorage.setItem("signed-in", session);
  await signedIn();
});

onClick($("sign-out"), async () => {
  stream?.close(); // or its end would be news
  try {
    await alone(() => call("DELETE", "session"));
  } catch (err) {
    watch(); // the user is still signed in
    throw err;
  }
  signedOut("You signed out.");
});

async function signedIn() {
  const me = await refresh();
  $("sign-in").reset();
  askForCode(false);
  $("signed-out").hidden = true;
  $("signed-in").hidden = $("user").hidden = false;
  $("user-name").textContent = me.name;
  $("change").elements.user.value = me.name;
  say(`Signed in as ${me.name}.`, "unseen");
  keepLater(me.refreshIn);
  watch();
  $("key-role").replaceChildren(new Option("all your roles", ""), ...(me.roles ?? []).map((role) => new Option(role)));
  await showDevices();
  await showKeys();
  $("devices-title").focus();
}

function signedOut(why) {
  stream?.close();
  clearTimeout(timer);
  if (localStorage.getItem("signed-in") === session) localStorage.removeItem("signed-in");
  $("change").reset();
  $("devices").replaceChildren();
  shown = "";
  $("keys").replaceChildren();
  $("make-key").reset();
  showSecret();
  $("signed-out").hidden = false;
  $("signed-in").hidden = $("user").hidden = true;
  $("device-name").value = localStorage.getItem("device-name") || guessName();
  say(why);
  if (why) $("username").focus();
}

// The devices

let shown = ""; // the devices in the list, as JSON
let asked = 0, answered = 0; // requests for the list

async function showDevices() {
  const request = ++asked;
  const devices = await api("GET", "api/devices");
  if (request < answered) return; // a later request was answered before
  answered = request;
  if (JSON.stringify(devices) === shown) return; // keep the focus where it is
  shown = JSON.stringify(devices);
  devices.sort((a, b) => b.current - a.current);
  const focused = document.activeElement.closest("#devices li")?.dataset.id;
  $("devices").replaceChildren(...devices.map(item));
  if (focused) ($("devices").querySelector(`[data-id="${focused}"] button`) ?? $("devices-title")).focus();
  $("end-others").hidden = devices.length < 2;
}

// item returns a line of the list. Names come from other devices, so they are set
// as text.
function item(device) {
  const line = $("device").content.cloneNode(true);
  line.querySelector("li").dataset.id = device.id;
  const name = device.name || "Device without a name";
  line.querySelector("bdi").textContent = name;
  line.querySelector(".badge").hidden = !device.current;
  showTime(line.querySelector(".issued"), device.issued);
  if (device.current) line.querySelector(".seen").textContent = "active now";
  else showTime(line.querySelector(".seen time"), device.lastSeen);
  const button = line.querySelector("button");
  button.hidden = device.current; // which has the button at the top
  line.querySelector(".unseen").textContent = ` ${name}`;
  onClick(button, async () => {
    try {
      await api("DELETE", `api/devices/${encodeURIComponent(device.id)}`);
    } catch (err) {
      if (err.status !== 404) throw err; // it has ended already
    }
    say(`${name} is signed out.`);
    await showDevices();
    $("devices-title").focus();
  });
  return line;
}

function showTime(element, time) {
  const date = new Date(time), now = new Date();
  element.dateTime = time;
  element.textContent = date.toLocaleString(undefined, {
    hour: "2-digit", minute: "2-digit",
    ...(date.toDateString() === now.toDateString() ? {} : { day: "numeric", month: "short" }),
    ...(date.getFullYear() === now.getFullYear() ? {} : { year: "numeric" }),
  });
}

onClick($("end-others"), async () => {
  await api("DELETE", "api/devices");
  say("All other devices are signed out.");
  await showDevices();
  $("devices-title").focus();
});

// The API keys

// showSecret shows a new key, and without one none.
function showSecret(made) {
  $("secret").value = made ? made.key : "";
  $("made").dataset.id = made ? made.id : "";
  $("made").hidden = !made;
}

async function showKeys() {
  $("keys").replaceChildren(...(await api("GET", "api/keys")).map(keyItem));
}

// keyItem returns a line of the list of keys.
function keyItem(key) {
  const line = $("key").content.cloneNode(true), path = `api/keys/${encodeURIComponent(key.id)}`;
  const name = line.querySelector("input");
  name.value = key.name;
  line.querySelector("code").textContent = `${key.id}…`;
  line.querySelector(".role").textContent = key.role || "all your roles";
  showTime(line.querySelector(".created"), key.created);
  for (const [part, time] of [[".used", key.lastSeen], [".until", key.expires]]) {
    line.querySelector(part).hidden = !time;
    if (time) showTime(line.querySelector(`${part} time`), time);
  }
  const button = line.querySelector("button"), named = line.querySelector(".unseen");
  named.textContent = ` ${key.name}`;
  name.addEventListener("change", async () => {
    const wanted = name.value;
    try {
      await api("PATCH", path, { name: wanted });
      say(`The key is now named ${wanted}.`);
    } catch (err) {
      name.value = key.name;
      explain(err);
      return;
    }
    key.name = wanted;
    named.textContent = ` ${wanted}`;
  });
  onClick(button, async () => {
    try {
      await api("DELETE", path);
    } catch (err) {
      if (err.status !== 404) throw err; // it has ended already
    }
    if ($("made").dataset.id === key.id) showSecret();
    say(`The key ${key.name} has ended.`);
    await showKeys();
    $("keys-title").focus();
  });
  return line;
}

onSubmit($("make-key"), async () => {
  const made = await api("POST", "api/keys", new FormData($("make-key")));
  $("make-key").reset();
  showSecret(made);
  say(`The key ${made.name} is made.`, "unseen");
  await showKeys();
  $("secret").focus();
  $("secret").select();
});

onClick($("copy"), async () => {
  $("secret").select();
  await navigator.clipboard.writeText($("secret").value);
  say("The key is copied.");
});

onSubmit($("change"), async () => {
  const form = new FormData($("change"));
  form.delete("user");
  try {
    await api("POST", "api/password", form);
  } catch (err) {
    $("current").value = "";
    $("current").focus();
    throw err;
  }
  $("change").reset();
  $("change").closest("details").open = false;
  say("Your password is changed. All other devices are signed out.");
  await showDevices();
  $("devices-title").focus();
});

// The stream

let stream;

function watch() {
  let ticks = 0;
  const source = stream = new EventSource("events");
  source.onopen = () => live("Connected", true);
  source.onmessage = (event) => {
    const { time } = JSON.parse(event.data);
    $("clock").dateTime = time;
    $("clock").textContent = new Date(time).toLocaleTimeString();
    if (++ticks % 5 === 0) showDevices().catch(() => {}); // the stream says when the sign-in ends
  };
  source.addEventListener("end", (event) => {
    const why = reasons[JSON.parse(event.data).reason];
    if (why && source === stream) signedOut(why);
    // Otherwise the access token has expired or the service restarts, and the browser connects again.
  });
  source.onerror = () => {
    if (source !== stream || $("signed-in").hidden) return;
    live("Connecting…", false);
    if (source.readyState === EventSource.CLOSED) setTimeout(resume, 2000, source); // the service refused
  };
}

// resume opens the stream again after the service refused it, for example because the
// access token had expired.
async function resume(source) {
  if (source !== stream || $("signed-in").hidden) return;
  await keep();
  if (source === stream && !$("signed-in").hidden) watch();
}

function live(text, open) {
  $("live").textContent = text;
  $("dot").className = open ? "open" : "";
  if (!open) $("clock").textContent = "";
}

if (session) {
  signedIn().catch((err) => {
    if (err.status !== 401) session = null; // keep what is stored: a failure signs nobody out
    if ($("signed-in").hidden) signedOut("");
    explain(err);
  });
} else {
  signedOut("");
}
