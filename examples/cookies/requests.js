// Every way in which a page can make a browser send a request to the application.
// The application's own page and those of other sites use this same list. The
// page sets app and other, the base URLs of the application and of another site.

const message = { text: "hello" };
const stranger = { name: "mallory", password: "password" };

// Each send gets a URL. If a script can await the response, send returns a
// promise of the text that it can read.

const fetched = (init) => async (url) => {
	const body = init.method ? "text=hello" : undefined;
	return (await fetch(url, { credentials: "include", body, ...init })).text();
};

const xhr = (method) => (url) => new Promise((done) => {
	const x = new XMLHttpRequest();
	x.open(method, url);
	x.withCredentials = true;
	x.onloadend = () => done(x.responseText);
	x.send(method === "GET" ? null : "text=hello");
});

const socket = (url) => new Promise((done) => {
	const s = new WebSocket(url.replace("http", "ws"));
	s.onmessage = (event) => { s.close(); done(event.data); };
	s.onclose = () => done("");
});

const events = (url) => new Promise((done) => {
	const source = new EventSource(url, { withCredentials: true });
	source.onmessage = (event) => { source.close(); done(event.data); };
	source.onerror = () => { source.close(); done(""); };
});

// An element has a function of the URL for its attributes. Nothing can be read
// from it.
const element = (tag, attributes) => (url) => new Promise((done) => {
	const e = Object.assign(document.createElement(tag), attributes(url));
	e.onload = e.onerror = () => { e.remove(); done(""); };
	document.body.append(e);
});

// submit submits a form in the window or frame of the given name.
function submit(url, target, method, fields, enctype = "") {
	const form = Object.assign(document.createElement("form"), { action: url, target, method, enctype });
	for (const [name, value] of [...new URL(url).searchParams, ...Object.entries(fields)]) {
		form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
	}
	document.body.append(form);
	form.submit();
	form.remove();
}

// Requests with a new page as their response get it in this window.
const shown = () => window.open("", "shown");

const form = (method, fields, enctype) => (url) => {
	shown();
	submit(url, "shown", method, fields, enctype);
};

// A page of the application in a frame says so to the page around it. The load event
// may come before that message, but a message sent in it comes afterwards.
const framed = (start) => (url) => new Promise((done) => {
	let read = "";
	const listen = (event) => {
		if (event.source !== window) {
			read = event.data;
			return;
		}
		removeEventListener("message", listen);
		frame.remove();
		done(read);
	};
	addEventListener("message", listen);
	const frame = document.createElement("iframe");
	frame.name = "frame";
	document.body.append(frame);
	frame.onload = () => { frame.onload = null; postMessage("the frame has loaded", origin); };
	start(frame, url);
});

// A page in a sandbox has an origin of its own: its requests have "Origin: null".
const sandboxed = (script) => (url) => {
	document.getElementById("sandbox")?.remove();
	const frame = Object.assign(document.createElement("iframe"), { id: "sandbox", sandbox: "allow-scripts allow-forms" });
	frame.srcdoc = `<form method="post" action="${url}"></form><script>${script(url)}</script>`;
	document.body.append(frame);
};

const link = (attributes) => (url) => {
	shown();
	Object.assign(document.createElement("a"), attributes(url)).click();
};

const inWorker = (url) => new Promise((done) => {
	const worker = new Worker("/worker.js");
	worker.onmessage = (event) => { worker.terminate(); done(event.data); };
	worker.postMessage(url);
});

const inServiceWorker = async (url) => {
	await navigator.serviceWorker.register("/worker.js");
	const { active } = await navigator.serviceWorker.ready;
	return new Promise((done) => {
		const { port1, port2 } = new MessageChannel();
		port1.onmessage = (event) => done(event.data);
		active.postMessage(url, [port2]);
	});
};

// via sends to a server that redirects to the URL, with the same method.
const via = (server, send) => (url) => send(server(url));
const otherServer = (url) => other + "/redirect?to=" + encodeURIComponent(url);
const oldPath = (url) => url.replace("/my/", "/old/");

const hidden = "It changes nothing, and the browser hides the response from the page.";
const loaded = "It changes nothing, and the browser does not give JSON to the page as a script, picture or style.";
const visible = "It changes nothing. The user sees the page of the application, and the other page cannot read it.";

// For requests that may get through, why says why that is safe.
const requests = [
	["`fetch`, cors, GET", "/my/data", fetched({}), hidden],
	["`fetch`, cors, POST", "/my/messages", fetched({ method: "POST" })],
	["`fetch`, cors, POST of JSON", "/my/messages", fetched({ method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })],
	["`fetch`, cors, PUT", "/my/messages", fetched({ method: "PUT" })],
	["`fetch`, cors, DELETE", "/my/messages", fetched({ method: "DELETE" })],
	["`fetch`, no-cors, GET", "/my/data", fetched({ mode: "no-cors" }), hidden],
	["`fetch`, no-cors, POST", "/my/messages", fetched({ mode: "no-cors", method: "POST" })],
	["`fetch`, no-cors, POST, keepalive", "/my/messages", fetched({ mode: "no-cors", method: "POST", keepalive: true })],
	["`fetch`, same-origin, GET", "/my/data", fetched({ mode: "same-origin" })],
	["`fetch`, same-origin, POST", "/my/messages", fetched({ mode: "same-origin", method: "POST" })],
	["`fetch` in a worker, POST", "/my/messages", inWorker],
	["`fetch` in a service worker, POST", "/my/messages", inServiceWorker],
	["`fetch` in a sandboxed frame, POST", "/my/messages", sandboxed((url) => `fetch("${url}", { method: "POST", mode: "no-cors", credentials: "include" })`)],
	["`fetch`, POST to the other server, which redirects", "/my/messages", via(otherServer, fetched({ method: "POST", mode: "no-cors" }))],
	["`fetch`, POST to an old path, which redirects", "/my/messages", via(oldPath, fetched({ method: "POST", mode: "no-cors" }))],
	["`XMLHttpRequest`, GET", "/my/data", xhr("GET"), hidden],
	["`XMLHttpRequest`, POST", "/my/messages", xhr("POST")],
	["`XMLHttpRequest`, DELETE", "/my/messages", xhr("DELETE")],
	["`sendBeacon`", "/my/messages", (url) => { navigator.sendBeacon(url, "text=hello"); }],
	["`sendBeacon` of JSON", "/my/messages", (url) => { navigator.sendBeacon(url, new Blob(["{}"], { type: "application/json" })); }],
	["`<a ping>`", "/my/messages", link((ping) => ({ ping, href: "#" }))],
	["`EventSource`", "/my/events", events, hidden],
	["`WebSocket`", "/my/feed", socket],
	["`<img>`", "/my/data", element("img", (src) => ({ src })), loaded],
	["`<script>`", "/my/data", element("script", (src) => ({ src })), loaded],
	["`<link rel=stylesheet>`", "/my/data", element("link", (href) => ({ rel: "stylesheet", href })), loaded],
	["`<link rel=prefetch>`", "/my/page", element("link", (href) => ({ rel: "prefetch", href })), hidden],
	["`<iframe>`", "/my/page", framed((frame, url) => { frame.src = url; }), "It changes nothing, and the application's `frame-ancestors` makes the browser show nothing."],
	["form in an `<iframe>`, POST", "/my/messages", framed((frame, url) => submit(url, frame.name, "post", message))],
	["form in a sandboxed frame, POST", "/my/messages", sandboxed(() => "document.forms[0].submit()")],
	["form, GET", "/my/page", form("get", {}), visible],
	["form, POST, urlencoded", "/my/messages", form("post", message)],
	["form, POST, multipart", "/my/messages", form("post", message, "multipart/form-data")],
	["form, POST, plain text", "/my/messages", form("post", message, "text/plain")],
	["form, POST to the other server, which redirects", "/my/messages", via(otherServer, form("post", message))],
	["form, POST to an old path, which redirects", "/my/messages", via(oldPath, form("post", message))],
	["link", "/my/page", link((href) => ({ href, target: "shown" })), visible],
	["link to the other server, which redirects", "/my/page", via(otherServer, link((href) => ({ href, target: "shown" }))), visible],
	["`window.open`", "/my/page", (url) => { window.open(url, "shown"); }, visible],
	["`location`", "/my/page", (url) => { shown().location = url; }, visible],
	["form, POST of a stranger's password to `/sign-in`", "/sign-in", form("post", stranger)],
	["form, POST to `/sign-out`", "/sign-out", form("post", {})],
].map(([name, path, send, why = ""]) => ({ name, path, send, why }));

// run sends a request. It returns what the page could read, and what the
// application has recorded.
async function run({ path, send }) {
	const id = crypto.randomUUID();
	const sent = send(`${app}${path}?request=${id}`);
	const read = await sent?.catch(() => "");
	const record = await fetch(`/record?request=${id}` + (sent ? "" : "&wait=1"));
	return { read: read ?? "", requests: await record.json() };
}
