const response = await fetch(`${process.env.HOST}/PATH`);
const metadata = await response.json();
console.log(metadata.token_endpoint);
