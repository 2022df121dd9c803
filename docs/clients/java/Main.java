import static java.util.stream.Collectors.joining;

import cinequery.client.ApiClient;
import cinequery.client.ApiException;
import cinequery.client.ApiResponse;
import cinequery.client.api.MoviesApi;
import cinequery.client.api.MoviesApi.APIListMoviesRequest;
import cinequery.client.api.MoviesApi.APIUpdateMovieRequest;
import cinequery.client.api.TokenApi;
import cinequery.client.model.Diagnostic;
import cinequery.client.model.Movie;
import cinequery.client.model.MovieDraft;
import cinequery.client.model.MoviePage;
import cinequery.client.model.MoviePatch;
import cinequery.client.model.Problem;
import cinequery.client.model.Token;
import cinequery.client.model.TokenRequest;
import com.fasterxml.jackson.core.JsonProcessingException;
import java.time.LocalDate;
import java.util.Objects;

/**
 * Signs in, then creates, finds, changes and deletes a movie.
 *
 * <p>The SDK reads text in the platform's charset, which before Java 18 is UTF-8 for certain only
 * with {@code -Dfile.encoding=UTF-8}.
 */
public class Main {
  public static void main(String[] args) throws ApiException, JsonProcessingException {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv().getOrDefault("CINEQUERY_URL", "http://127.0.0.1:8080"));

    Token token = new TokenApi(client).signIn(new TokenRequest()
        .username(environment("CINEQUERY_USERNAME"))
        .password(environment("CINEQUERY_PASSWORD")));
    System.out.printf("signed in for %d s%n", token.getExpiresIn());

    // An API keeps the settings that its client has when it is made: the token comes first.
    client.setRequestInterceptor(
        request -> request.setHeader("Authorization", "Bearer " + token.getAccessToken()));
    MoviesApi movies = new MoviesApi(client);

    ApiResponse<Movie> created = movies.createMovieWithHttpInfo(new MovieDraft()
        .title("The Third Man")
        .genre("film noir")
        .releaseYear(1949)
        .expiryDate(LocalDate.of(2031, 12, 31)));
    Movie movie = created.getData();
    System.out.printf("created %s, version %d%n", movie.getTitle(), movie.getVersion());

    MoviePage found = movies.listMovies(APIListMoviesRequest.newBuilder()
        .filter("genre = \"film noir\" and release_year between 1940 and 1949")
        .orderBy("release_year, title")
        .build());
    System.out.println("found " + found.getItems().stream()
        .map(each -> "%s (%d)".formatted(each.getTitle(), each.getReleaseYear()))
        .collect(joining(", ")));

    int count = 0;
    int pages = 0;
    String cursor = null;
    do {
      MoviePage page = movies.listMovies(
          APIListMoviesRequest.newBuilder().limit(10).cursor(cursor).build());
      count += page.getItems().size();
      pages++;
      cursor = page.getNextCursor();
    } while (cursor != null);
    System.out.printf("walked %d movies on %d pages%n", count, pages);

    ApiResponse<Movie> updated = movies.updateMovieWithHttpInfo(APIUpdateMovieRequest.newBuilder()
        .id(movie.getId())
        .ifMatch(etag(created))
        .moviePatch(new MoviePatch().expiryDate(LocalDate.of(2032, 6, 30)))
        .build());
    movie = updated.getData();
    System.out.printf("updated to version %d, expiring %s%n",
        movie.getVersion(), movie.getExpiryDate());

    try {
      movies.listMovies(APIListMoviesRequest.newBuilder().filter("gnre = \"film noir\"").build());
      throw new IllegalStateException("a filter with an unknown field was accepted");
    } catch (ApiException failure) {
      // An exception has the body of the error response as text; the client's mapper parses it.
      Problem problem =
          client.getObjectMapper().readValue(failure.getResponseBody(), Problem.class);
      Diagnostic diagnostic = problem.getDiagnostics().get(0);
      System.out.printf("rejected: %s at column %d: %s; %s%n", diagnostic.getCode(),
          diagnostic.getColumn(), diagnostic.getMessage(), diagnostic.getHelp());
    }

    movies.deleteMovie(movie.getId(), etag(updated));
    System.out.println("deleted");
  }

  private static String environment(String name) {
    return Objects.requireNonNull(System.getenv(name), name + " is not set");
  }

  private static String etag(ApiResponse<?> response) {
    return response.getHeaders().get("ETag").get(0);
  }
}
