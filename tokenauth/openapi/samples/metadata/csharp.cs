using System.Net.Http.Json;
using System.Text.Json;

var host = Environment.GetEnvironmentVariable("HOST");
using var http = new HttpClient();
var metadata = await http.GetFromJsonAsync<JsonElement>($"{host}/PATH");
Console.WriteLine(metadata.GetProperty("token_endpoint"));
