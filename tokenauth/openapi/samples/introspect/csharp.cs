using System.Net.Http.Json;
using System.Text.Json;

var host = Environment.GetEnvironmentVariable("HOST");
using var http = new HttpClient();
var response = await http.PostAsync($"{host}/PATH", new FormUrlEncodedContent(new Dictionary<string, string>
{
    ["client_id"] = "client",
    ["client_secret"] = "secret",
    ["token"] = Environment.GetEnvironmentVariable("TOKEN")!,
}));
response.EnsureSuccessStatusCode();
var answer = await response.Content.ReadFromJsonAsync<JsonElement>();
Console.WriteLine(answer.GetProperty("active"));
