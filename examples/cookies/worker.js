// A worker, or a service worker, that sends a request.
onmessage = async ({ data: url, ports: [port] }) => {
	const init = { method: "POST", mode: "no-cors", credentials: "include", body: "text=hello" };
	const read = await fetch(url, init).then((response) => response.text(), () => "");
	(port ?? self).postMessage(read);
};
